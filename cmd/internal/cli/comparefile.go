package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
	"github.com/heapwright/heapwright/cmd/internal/experiment/subject"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// initExperiment writes an experiment to start from.
func initExperiment(env Env, opt compareOptions, kind string) error {
	text := planfile.Template(kind)
	if text == nil {
		return usagef("compare", "--init writes an experiment for a %s, not for %q", strings.Join(planfile.Kinds(), ", "), kind)
	}
	if err := writeNew(env, opt.out, text); err != nil {
		return fmt.Errorf("writing the experiment: %w", err)
	}
	if toStdout(opt.out) {
		return nil
	}
	fmt.Fprintf(env.Stdout, "%s is an experiment to start from; heapwright compare --check %s checks it\n", opt.out, opt.out)
	return nil
}

// An experimentCheck is the document of compare --check --json.
type experimentCheck struct {
	Schema     string              `json:"schema"`
	File       string              `json:"file"`
	Valid      bool                `json:"valid"`
	Problems   []experimentProblem `json:"problems"`
	PlanSHA256 *string             `json:"plan_sha256"`
	Plan       *experiment.Plan    `json:"plan"` // with all defaults, and the variants of a sweep
	// Blocks and Seconds are what the experiment takes up to its first look, without
	// starts and warm-ups that take longer than they have to.
	Blocks  *int     `json:"blocks_to_first_look"`
	Seconds *float64 `json:"first_look_seconds"`
}

type experimentProblem struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Key    string `json:"key"`
	Text   string `json:"text"`
}

// problemsOf lists what is wrong with a file. An error that is no such list is
// returned.
func problemsOf(err error) ([]experimentProblem, error) {
	out := []experimentProblem{}
	var problems *strictyaml.Errors
	if !errors.As(err, &problems) {
		return out, err
	}
	for _, p := range problems.Problems {
		out = append(out, experimentProblem(p))
	}
	return out, nil
}

// writeCheck writes the document of --check --json on a file that has that error.
func writeCheck(env Env, doc any, err error) error {
	if werr := writeJSON(env.Stdout, doc); werr != nil {
		return werr
	}
	if err != nil {
		return exitWith(ExitCouldNotRun)
	}
	return nil
}

// checkExperiment says what is wrong with an experiment, or what it comes to.
func checkExperiment(env Env, opt compareOptions, path string) error {
	plan, text, err := planfile.Load(path)
	if err == nil {
		err = checkBuilds(plan)
	}
	problems, other := problemsOf(err)
	if other != nil {
		return other
	}
	doc := experimentCheck{Schema: schemaExperiment, File: path, Valid: err == nil, Problems: problems}
	if err == nil {
		blocks, lasts := toFirstLook(plan)
		hash, seconds := planfile.Hash(text), lasts.Seconds()
		doc.Plan, doc.PlanSHA256, doc.Blocks, doc.Seconds = plan, &hash, &blocks, &seconds
	}
	if !opt.json {
		if err != nil {
			return err
		}
		return doc.print(env)
	}
	return writeCheck(env, doc, err)
}

// checkBuilds asks who builds whether all variants can be.
func checkBuilds(p *experiment.Plan) error {
	for _, v := range p.Variants {
		if err := subject.CheckBuild(p.Subject, v); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
	}
	return nil
}

// toFirstLook is how many blocks an experiment takes before there can be a verdict,
// and how long those last at least.
func toFirstLook(p *experiment.Plan) (blocks int, lasts time.Duration) {
	blocks = len(schedule.Calibration(p))
	var others []int
	for i := 1; i < len(p.Variants); i++ {
		others = append(others, i)
	}
	for quad := range (p.Design.Looks[0] + 1) / 2 {
		blocks += len(schedule.Comparison(p, quad, others))
	}
	return blocks, time.Duration(blocks) * (p.Design.Warmup + p.Design.Measure)
}

func (d *experimentCheck) print(env Env) error {
	p := d.Plan
	var b strings.Builder
	line := func(name, format string, args ...any) {
		wrapped := term.Wrap(fmt.Sprintf(format, args...), "            ", env.textColumns(env.Stdout))
		fmt.Fprintf(&b, "%-11s %s\n", name, strings.TrimPrefix(wrapped, "            "))
	}
	fmt.Fprintf(&b, "%s is an experiment, with these defaults filled in\n\n", d.File)
	line("name", "%s", p.Name)
	line("subject", "%s", subjectText(&p.Subject))
	for i, v := range p.Variants {
		name := ""
		if i == 0 {
			name = "variants"
		}
		text := v.Name
		if s := variantText(v); s != "" {
			text += ": " + s
		}
		if i == 0 {
			text += " (the baseline)"
		}
		line(name, "%s", text)
	}
	line("load", "%s", loadText(&p.Load))
	if p.Goal != nil {
		line("goal", "%s improves; worse by %s is a regression", p.Goal.Metric, ratioText(p.Goal.Margin))
	} else {
		line("goal", "none: it is enough that no guard is broken")
	}
	for i, g := range p.Guards {
		name := ""
		if i == 0 {
			name = "guards"
		}
		line(name, "%s is not worse by %s", g.Metric, ratioText(g.Margin))
	}
	looks := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(p.Design.Looks)), ", "), "[]")
	line("design", "%s; %s of calibration; looks at %s pairs; %v of warm-up at least, %v measured", strings.Join(schedule.Designs(p), " and "),
		plural(p.Design.Calibration, "pair"), looks, p.Design.Warmup, p.Design.Measure)
	line("time", "at least %[2]s, for %[1]s, up to the first look; the budget is %[3]s",
		plural(*d.Blocks, "block"), span(time.Duration(*d.Seconds*float64(time.Second))), span(p.Budget.Time))
	line("seed", "%d", p.Seed)
	line("sha256", "%s", *d.PlanSHA256)
	_, err := fmt.Fprint(env.Stdout, b.String())
	return err
}

func subjectText(s *experiment.Subject) string {
	switch {
	case len(s.Command) > 0:
		return term.Clean(strings.Join(s.Command, " "))
	case s.Package != "":
		return "package " + s.Package
	case s.Git != nil:
		return "package " + term.Clean(s.Git.Package) + " of the repository " + term.Clean(s.Git.Repository)
	}
	return "the package in " + term.Clean(s.Source)
}

// variantText is what a variant changes.
func variantText(v experiment.Variant) string {
	var out []string
	add := func(name, value string) {
		if value != "" {
			out = append(out, term.Clean(name+value))
		}
	}
	add("GOGC=", v.GOGC)
	add("GOMEMLIMIT=", v.GOMEMLIMIT)
	if v.GOMAXPROCS > 0 {
		add("GOMAXPROCS=", fmt.Sprint(v.GOMAXPROCS))
	}
	add("GODEBUG=", v.GODEBUG)
	add("", v.Toolchain)
	add("GOEXPERIMENT=", v.GOEXPERIMENT)
	add("revision ", v.Revision)
	add("version ", v.Version)
	add("flags ", strings.Join(v.BuildFlags, " "))
	add("tags ", strings.Join(v.Tags, ","))
	add("PGO ", v.PGO)
	for _, k := range slices.Sorted(maps.Keys(v.Env)) {
		add(k+"=", v.Env[k])
	}
	add("arguments ", strings.Join(v.Args, " "))
	if v.MemoryLimit > 0 {
		add("memory limit ", sizeText(uint64(v.MemoryLimit)))
	}
	if v.CPUQuota > 0 {
		add("CPU quota ", fmt.Sprintf("%g", v.CPUQuota))
	}
	return strings.Join(out, ", ")
}

func loadText(l *experiment.Load) string {
	rate := fmt.Sprintf("%g/s", float64(l.Rate))
	if l.Rate == 0 {
		rate = ratioText(l.KneeShare) + " of the highest rate that every variant can serve"
	}
	switch {
	case l.GRPC != nil:
		return fmt.Sprintf("gRPC %s, %s, %s, %s", l.GRPC.Method, rate, l.Arrivals, plural(l.Connections, "connection"))
	case l.HTTP != nil:
		return fmt.Sprintf("%s of requests, %s, %s, %s, %s", plural(len(l.HTTP.Requests), "kind"), map[string]string{"http1": "HTTP/1.1", "http2": "HTTP/2"}[l.HTTP.Protocol], rate, l.Arrivals, plural(l.Connections, "connection"))
	}
	return term.Clean(strings.Join(l.Command, " ")) + ", " + rate
}

func ratioText(r experiment.Ratio) string { return fmt.Sprintf("%.4g%%", 100*float64(r)) }
