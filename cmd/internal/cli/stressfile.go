package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/judge"
	"github.com/heapwright/heapwright/cmd/internal/chaos/mesh"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
	"github.com/heapwright/heapwright/cmd/internal/chaos/resultfile"
	conductor "github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/chaos/toolkit"
	experimentfile "github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

// initPlan writes a plan to start from.
func initPlan(env Env, opt stressOptions, kind string) error {
	text := planfile.Template(kind)
	if text == nil {
		return usagef("stress", "--init writes a plan for a %s, not for %q", strings.Join(planfile.Kinds(), ", "), kind)
	}
	if err := writeNew(env, opt.out, text); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	if !toStdout(opt.out) {
		fmt.Fprintf(env.Stdout, "%s is a plan to start from; heapwright stress --check %s checks it\n", opt.out, opt.out)
	}
	return nil
}

func toStdout(file string) bool { return file == "" || file == "-" }

// writeNew writes a file that must not be there yet, or to stdout.
func writeNew(env Env, file string, text []byte) error {
	if toStdout(file) {
		_, err := env.Stdout.Write(text)
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and is not overwritten", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// A planCheck is the document of stress --check --json.
type planCheck struct {
	Schema     string              `json:"schema"`
	File       string              `json:"file"`
	Valid      bool                `json:"valid"`
	Problems   []experimentProblem `json:"problems"`
	PlanSHA256 *string             `json:"plan_sha256"`
	Plan       *chaos.Plan         `json:"plan"` // with all defaults
	// Shortest and Longest are how long it takes when everything recovers at once, and
	// when nothing does.
	Shortest *float64 `json:"shortest_seconds"`
	Longest  *float64 `json:"longest_seconds"`
	Notes    []string `json:"notes"`
}

// checkPlan says what is wrong with a plan, or what it comes to.
func checkPlan(env Env, opt stressOptions, path string) error {
	plan, text, err := loadStress(env, path)
	problems, other := problemsOf(err)
	if other != nil {
		return other
	}
	doc := planCheck{Schema: schemaStressCheck, File: path, Valid: err == nil, Problems: problems, Notes: []string{}}
	if err == nil {
		s := planfile.Summarize(plan)
		hash, shortest, longest := planfile.Hash(text), s.Shortest.Seconds(), s.Longest.Seconds()
		doc.Plan, doc.PlanSHA256, doc.Shortest, doc.Longest = plan, &hash, &shortest, &longest
		doc.Notes = append(doc.Notes, s.Notes...)
	}
	if !opt.json {
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s is a plan of stress\n", path)
		return printPreview(env, env.Stdout, conductor.Preview{Plan: plan})
	}
	return writeCheck(env, doc, err)
}

// A previewDocument is what stress --dry-run --json prints.
type previewDocument struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// PID is null for a target that would be started.
	PID    *int           `json:"pid"`
	Target string         `json:"target"`
	Cgroup *string        `json:"cgroup"`
	Load   *string        `json:"load"`
	Faults []faultPreview `json:"faults"`
	// Shortest and Longest are as of stress --check.
	Shortest float64  `json:"shortest_seconds"`
	Longest  float64  `json:"longest_seconds"`
	Notes    []string `json:"notes"`
}

type faultPreview struct {
	Name string     `json:"name"`
	Kind chaos.Kind `json:"kind"`
	Unit chaos.Unit `json:"unit"`
	Risk int        `json:"risk"`
	// Level and From are in the unit; null where they are not known before the target
	// runs.
	From  *float64 `json:"from_value"`
	Level *float64 `json:"level_value"`
	// Words are what will be done.
	Words []string `json:"words"`
}

func previewOf(p conductor.Preview) previewDocument {
	s := planfile.Summarize(p.Plan)
	doc := previewDocument{Schema: schemaStressPlan, Name: p.Plan.Name, PID: nonZero(p.Process.PID), Target: s.Target, Cgroup: nonZero(p.Cgroup), Load: nonZero(s.Load),
		Faults: []faultPreview{}, Shortest: s.Shortest.Seconds(), Longest: s.Longest.Seconds(), Notes: append([]string{}, s.Notes...)}
	for i, f := range p.Plan.Faults {
		info, _ := f.Kind.Info()
		out := faultPreview{Name: f.Name, Kind: f.Kind, Unit: info.Unit, Risk: info.Risk, Words: []string{}}
		if i < len(p.Faults) {
			r := p.Faults[i]
			out.From, out.Level, out.Words = finite(r.From), finite(r.Level), append(out.Words, r.Words...)
		}
		doc.Faults = append(doc.Faults, out)
	}
	return doc
}

func stressReportCommand() command {
	var opt stressOutputs
	return command{
		use:   "report RESULT",
		short: "shows a result, judged anew",
		long: `
Shows a result of stress, in all the forms that stress has. The verdict is
computed again from what was seen. The exit code is that of the verdict.`,
		example: `
  heapwright stress report orders.hwstress
  heapwright stress report orders.hwstress --html orders.html
  heapwright stress report orders.hwstress --journal journal.json`,
		args:  exactly(1, "one result"),
		flags: opt.flags,
		run: func(_ context.Context, env Env, args arguments) error {
			if err := opt.validate("stress report"); err != nil {
				return err
			}
			r, err := resultfile.Read(append(args.targets, args.command...)[0])
			if err != nil {
				return err
			}
			v := judge.Judge(r)
			if err := opt.show(env, r, v); err != nil {
				return err
			}
			return exitWith(stressCode(r, v))
		},
	}
}

// formats are what plans can be exported to.
var formats = []string{"chaos-toolkit", "chaos-mesh"}

// An exportDocument is what stress export --json prints.
type exportDocument struct {
	Schema string   `json:"schema"`
	File   *string  `json:"file"`
	Format string   `json:"format"`
	Text   string   `json:"text"`
	Notes  []string `json:"notes"`
}

func stressExportCommand() command {
	var to, out, headroom string
	var labels map[string]string
	var where mesh.Options
	var asJSON bool
	return command{
		use:   "export PLAN.yaml --to FORMAT",
		short: "a plan for the Chaos Toolkit or Chaos Mesh",
		long: `
Writes a plan in another tool's format. For the Chaos Toolkit it is an
experiment that runs heapwright stress; for Chaos Mesh it is the StressChaos and
the workflow that come nearest. What has no equivalent there is said on stderr.`,
		example: `
  heapwright stress export orders.yaml --to chaos-toolkit -o experiment.json
  heapwright stress export orders.yaml --to chaos-mesh > stress.yaml`,
		args: exactly(1, "one plan"),
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&to, "to", formats[0], "`FORMAT`: "+strings.Join(formats, " or "))
			f.StringVarP(&out, "output", "o", "", "`FILE` (default stdout)")
			f.StringVar(&where.Namespace, "namespace", "", "Kubernetes namespace of the pods (chaos-mesh)")
			f.StringToStringVarP(&labels, "label", "l", nil, "labels of the pods, as `KEY=VALUE` (chaos-mesh)")
			f.StringVar(&where.Container, "container", "", "`NAME` of the container (chaos-mesh)")
			f.StringVar(&headroom, "headroom", "", "`SIZE` of the limit that the service leaves free, which percentages are of (chaos-mesh)")
			f.StringVar(&where.ReadyURL, "ready", "", "readiness `URL` as the cluster sees it (chaos-mesh)")
			jsonFlag(f, &asJSON)
		},
		completeFlags: map[string][]string{"to": formats},
		run: func(_ context.Context, env Env, args arguments) error {
			if err := oneOf("stress export", "to", to, formats); err != nil {
				return err
			}
			path := append(args.targets, args.command...)[0]
			if path == "-" && to != "chaos-mesh" {
				return usagef("stress export", "the experiment runs heapwright stress PLAN.yaml: stdin is no file to name there")
			}
			plan, _, err := loadStress(env, path)
			if err != nil {
				return err
			}
			where.Labels = labels
			if headroom != "" {
				size, err := experimentfile.ParseBytes(headroom)
				if err != nil {
					return usagef("stress export", "--headroom: %v", err)
				}
				where.Headroom = float64(size)
			}
			var text []byte
			var notes []string
			if to == "chaos-mesh" {
				text, notes, err = mesh.Export(plan, where)
			} else {
				text, notes, err = toolkit.Export(plan, toolkit.Options{File: path})
			}
			if err != nil {
				return err
			}
			return writeTranslated(env, exportDocument{Schema: schemaStressExport, File: nonZero(out), Format: to, Text: string(text), Notes: append([]string{}, notes...)}, asJSON)
		},
	}
}

// writeTranslated writes what another format was made of, and what could not be said in
// it.
func writeTranslated(env Env, d exportDocument, asJSON bool) error {
	for _, n := range d.Notes {
		env.warnf("%s", n)
	}
	if d.File != nil || !asJSON {
		file := ""
		if d.File != nil {
			file = *d.File
		}
		if err := writeNew(env, file, []byte(d.Text)); err != nil {
			return fmt.Errorf("writing the plan: %w", err)
		}
	}
	if asJSON {
		return writeJSON(env.Stdout, d)
	}
	return nil
}

// maxImport bounds what is read of a file of another tool; more is cut off, and then
// does not parse.
const maxImport = 4 << 20

func stressImportCommand() command {
	var out string
	var asJSON bool
	return command{
		use:   "import FILE",
		short: "a plan from an experiment of the Chaos Toolkit",
		long: `
Reads an experiment of the Chaos Toolkit (JSON; - is stdin) and writes the plan
that comes nearest. What it has no word for is said on stderr.`,
		example: `
  heapwright stress import experiment.json > orders.yaml
  heapwright stress import experiment.json -o orders.yaml`,
		args: exactly(1, "one experiment"),
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&out, "output", "o", "", "`FILE` (default stdout)")
			jsonFlag(f, &asJSON)
		},
		run: func(_ context.Context, env Env, args arguments) error {
			path := append(args.targets, args.command...)[0]
			from := env.Stdin
			if path != "-" {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			text, err := io.ReadAll(io.LimitReader(from, maxImport))
			if err != nil {
				return err
			}
			in, err := toolkit.Import(text)
			if err != nil {
				return fmt.Errorf("reading %s: %w", path, err)
			}
			return writeTranslated(env, exportDocument{Schema: schemaStressExport, File: nonZero(out), Format: "heapwright", Text: string(in.Text), Notes: append([]string{}, in.Notes...)}, asJSON)
		},
	}
}

// A faultsDocument is what stress faults --json prints.
type faultsDocument struct {
	Schema string      `json:"schema"`
	Faults []faultKind `json:"faults"`
}

type faultKind struct {
	Kind     chaos.Kind `json:"kind"`
	Unit     chaos.Unit `json:"unit"`
	Risk     int        `json:"risk"`
	RiskText string     `json:"risk_text"`
	// Share is what percentages are of; null where a level has none.
	Share    *string  `json:"share_of"`
	Needs    []string `json:"needs"`
	What     string   `json:"what"`
	Findings []string `json:"findings"` // that name it
}

func faultKinds() []faultKind {
	var out []faultKind
	for _, k := range chaos.Kinds() {
		f := faultKind{Kind: k.Kind, Unit: k.Unit, Risk: k.Risk, RiskText: planfile.RiskWord(k.Risk), Share: nonZero(k.Share), Needs: []string{}, What: k.What, Findings: append([]string{}, judge.Expected(k.Kind)...)}
		for _, n := range []struct {
			is   bool
			text string
		}{{k.Inside, "guard/fault in the target"}, {k.Memory, "a memory cgroup of its own"}, {k.CPU, "a CPU cgroup of its own"}, {k.Proxy, "upstream"}, {k.Kind == chaos.Connections, "address"}} {
			if n.is {
				f.Needs = append(f.Needs, n.text)
			}
		}
		out = append(out, f)
	}
	return out
}

func stressFaultsCommand() command {
	var asJSON bool
	return command{
		use:   "faults",
		short: "the kinds of faults, by rising risk",
		long: `
Lists the kinds of faults that a plan can have, by rising risk: the unit of
their level, what a percentage is of, what they need of the target, and the
findings of diagnose that name them (heapwright explain ID says more of each).`,
		example: `
  heapwright stress faults
  heapwright stress faults --json | jq -r '.faults[] | select(.risk < 3).kind'`,
		args:  exactly(0, "no arguments"),
		flags: func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(_ context.Context, env Env, _ arguments) error {
			all := faultKinds()
			if asJSON {
				return writeJSON(env.Stdout, faultsDocument{Schema: schemaStressFaults, Faults: all})
			}
			tab := texttab.Table{Columns: []texttab.Column{{Head: "KIND"}, {Head: "RISK", Right: true}, {Head: "LEVEL"}, {Head: "% OF", Drop: 2}, {Head: "WHAT", Min: 24}, {Head: "NEEDS", Min: 12, Drop: 3}, {Head: "NAMED BY", Drop: 4}}}
			for _, k := range all {
				share := ""
				if k.Share != nil {
					share = *k.Share
				}
				tab.Text(string(k.Kind), fmt.Sprint(k.Risk), string(k.Unit), share, k.What, strings.Join(k.Needs, ", "), strings.Join(k.Findings, " "))
			}
			return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
		},
	}
}

// stressEaterCommand takes memory in the cgroup of a target. People have no use for it.
func stressEaterCommand() command {
	return command{
		use: fault.Verb, short: "takes memory in a cgroup; started by heapwright itself", hidden: true,
		args: exactly(0, "no arguments"),
		run: func(ctx context.Context, env Env, _ arguments) error {
			return fault.Eat(ctx, env.Stdin, env.Stdout)
		},
	}
}
