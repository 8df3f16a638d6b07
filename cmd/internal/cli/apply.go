package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/manifest"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/record"
)

// targetOf names what settings are for, and what they were made from.
func targetOf(p record.Process, span time.Duration, opt tuneOptions) manifest.Target {
	t := opt.target
	t.Name = cmp.Or(t.Name, p.Name)
	t.Source = fmt.Sprintf("a recording of %s, %v long", p.Name, span.Round(time.Second))
	return t
}

// apply prints the form of every process's settings, one after another.
func (d *split) apply(env Env, opt tuneOptions, s *tune.Split, recs []*record.Recording) error {
	var all bytes.Buffer
	for i, part := range s.Slices {
		plan := &tune.Plan{Settings: part.Settings, Current: part.Current, Expected: part.Expected, Risk: part.Risk,
			Container: tune.Container{RequestBytes: part.BudgetBytes, LimitBytes: part.BudgetBytes}}
		text, err := manifest.Render(manifest.Kind(opt.apply), targetOf(recs[i].Process, part.Expected.Span, opt), plan)
		if err != nil {
			return err
		}
		manifest := string(text)
		d.Processes[i].Manifest = &manifest
		if i > 0 {
			all.WriteString(between(opt.apply))
		}
		all.Write(text)
	}
	if opt.out != "" {
		if err := os.WriteFile(opt.out, all.Bytes(), 0o666); err != nil {
			return fmt.Errorf("saving the settings: %w", err)
		}
	}
	switch {
	case opt.json:
		return writeJSON(env.Stdout, d)
	case opt.out != "":
		return d.print(env)
	}
	_, err := env.Stdout.Write(all.Bytes())
	return err
}

// between separates two of a form. A stream of YAML has a line for it.
func between(kind string) string {
	if kind == string(manifest.K8s) {
		return "---\n"
	}
	return "\n"
}
