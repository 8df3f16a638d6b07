package planfile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Bounds on what a plan may ask for.
const (
	maxName        = 80 // bytes
	maxVariants    = 32
	maxRequests    = 64
	maxGuards      = 24
	maxProcs       = 1 << 16
	maxConnections = 10_000
	maxTimeout     = time.Minute // what a histogram of latencies ends at
	maxLooks       = 20
	maxPairs       = 1000
	maxBraces      = 20 // that are looked at in a text
	minPairs       = 6  // fewer have no interval at the levels that are used
	minMemory      = 1 << 20
	maxCores       = 1024
)

const (
	protocolHTTP1 = "http1"
	protocolHTTP2 = "http2"
)

// builtOnly is said of keys that need a program to be built.
const builtOnly = "the subject is a command, which is run as it is: give it as a package, source or git, to have it built"

// check looks for everything that a plan cannot mean. All defaults are there.
func (d *decoder) check() {
	p := &d.file.Plan
	switch {
	case !d.Given("schema"):
		d.Bad("schema", "the first line of an experiment is \"schema: %s\"", experiment.PlanSchema)
	case p.Schema != experiment.PlanSchema:
		d.Bad("schema", "%s is not known: this heapwright reads %s", strictyaml.Quote(p.Schema), experiment.PlanSchema)
	}
	if p.Name == "" || len(p.Name) > maxName+len("…") || strings.ContainsFunc(p.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		d.Bad("name", "a name is one line of 1 to %d bytes", maxName)
	}
	d.Subject("subject", &p.Subject)
	d.variants(p)
	d.Load(&p.Load)
	d.metrics(p)
	d.design(&p.Design)
	d.During("budget.time", p.Budget.Time, time.Second, 7*24*time.Hour)
}

// variantKeys are the variables that variants have a key for.
var variantKeys = map[string]string{
	"GOGC": "gogc", "GOMEMLIMIT": "gomemlimit", "GOMAXPROCS": "gomaxprocs", "GODEBUG": "godebug",
	"GOEXPERIMENT": "goexperiment", "GOTOOLCHAIN": "toolchain",
}

var variantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+=,:@-]*$`)

func (d *decoder) variants(p *experiment.Plan) {
	switch n := len(p.Variants); {
	case n < 2:
		d.Bad("variants", "give two or more, the baseline first: there is nothing to compare with")
	case n > maxVariants:
		d.Bad("variants", "these are %d variants, and %d are the most", n, maxVariants)
		return
	}
	seen := map[string]bool{}
	for i := range p.Variants {
		v, path := &p.Variants[i], fmt.Sprintf("variants[%d]", i)
		switch {
		case v.Name == "":
			d.Bad(path+".name", "a variant has a name")
		case len(v.Name) > maxName || !variantName.MatchString(v.Name):
			d.Bad(path+".name", "%s is no name of a variant: letters, digits and . _ + = , : @ -, and a letter or digit first", strictyaml.Quote(v.Name))
		case seen[v.Name]:
			d.Bad(path+".name", "there are two variants %s", strictyaml.Quote(v.Name))
		}
		seen[v.Name] = true
		d.variant(p, v, path)
	}
}

var (
	godebugForm    = regexp.MustCompile(`^[a-z0-9]+=[^,=\s]+(,[a-z0-9]+=[^,=\s]+)*$`)
	experimentForm = regexp.MustCompile(`^[a-z0-9]+(,[a-z0-9]+)*$`)
	tagForm        = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
)

func (d *decoder) variant(p *experiment.Plan, v *experiment.Variant, path string) {
	says := func(key string, err error) {
		if err != nil {
			d.Bad(path+"."+key, "%s", err)
		}
	}
	if v.GOGC != "" {
		says("gogc", CheckGOGC(v.GOGC))
	}
	if v.GOMEMLIMIT != "" {
		says("gomemlimit", CheckGOMEMLIMIT(v.GOMEMLIMIT))
	}
	if d.Given(path + ".gomaxprocs") {
		d.Within(path+".gomaxprocs", v.GOMAXPROCS, 1, maxProcs)
	}
	if v.GODEBUG != "" && !godebugForm.MatchString(v.GODEBUG) {
		d.Bad(path+".godebug", "%s is no GODEBUG: write name=value, and commas between several", strictyaml.Quote(v.GODEBUG))
	}
	d.Args(path+".args", v.Args)
	d.Env(path+".env", v.Env)
	for _, k := range slices.Sorted(maps.Keys(v.Env)) {
		if key := variantKeys[k]; key != "" {
			d.Bad(path+".env."+k, "a variant has the key %s for it: write it there, so that the report shows it", key)
		}
	}
	d.build(p, v, path)
	if d.Given(path+".memory_limit") && v.MemoryLimit < minMemory {
		d.Bad(path+".memory_limit", "nothing runs in %d bytes: write 512MiB", v.MemoryLimit)
	}
	if d.Given(path+".cpu_quota") && !(v.CPUQuota >= 0.01 && v.CPUQuota <= maxCores) {
		d.Bad(path+".cpu_quota", "%v is not from 0.01 to %d cores", v.CPUQuota, maxCores)
	}
}

// build checks the keys that decide how a variant is built.
func (d *decoder) build(p *experiment.Plan, v *experiment.Variant, path string) {
	s := &p.Subject
	for key, set := range map[string]bool{
		"toolchain": v.Toolchain != "", "goexperiment": v.GOEXPERIMENT != "", "build_flags": len(v.BuildFlags) > 0, "tags": len(v.Tags) > 0, "pgo": v.PGO != "",
	} {
		if set && len(s.Command) > 0 {
			d.Bad(path+"."+key, builtOnly)
		}
	}
	if v.Toolchain != "" {
		if err := checkToolchain(v.Toolchain); err != nil {
			d.Bad(path+".toolchain", "%s", err)
		}
	}
	if v.GOEXPERIMENT != "" && !experimentForm.MatchString(v.GOEXPERIMENT) {
		d.Bad(path+".goexperiment", "%s is no GOEXPERIMENT: write greenteagc or nogreenteagc, and commas between several", strictyaml.Quote(v.GOEXPERIMENT))
	}
	for i, f := range v.BuildFlags {
		at := fmt.Sprintf("%s.build_flags[%d]", path, i)
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		switch {
		case !strings.HasPrefix(f, "-"):
			if i == 0 || !strings.HasPrefix(v.BuildFlags[i-1], "-") || strings.Contains(v.BuildFlags[i-1], "=") {
				d.Bad(at, "%s is neither a flag of go build nor the value of one", strictyaml.Quote(f))
			}
		case name == "tags" || name == "pgo":
			d.Bad(at, "there is a key for it: %s", name)
		case name == "o" || name == "C":
			d.Bad(at, "-%s is set by heapwright", name)
		}
	}
	for i, t := range v.Tags {
		if !tagForm.MatchString(t) {
			d.Bad(fmt.Sprintf("%s.tags[%d]", path, i), "%s is no build tag", strictyaml.Quote(t))
		}
	}
	switch {
	case v.Revision != "" && s.Git == nil:
		d.Bad(path+".revision", "only a git subject has revisions")
	case v.Revision != "":
		d.revision(path+".revision", v.Revision)
	case s.Git != nil && s.Git.Revision == "":
		d.Bad(path, "which revision? Give the variant one, or subject.git one for all")
	}
	switch versioned := strings.Contains(s.Package, "@"); {
	case v.Version != "" && s.Package == "":
		d.Bad(path+".version", "only a package subject has versions")
	case v.Version != "":
		d.version(path+".version", v.Version)
	case s.Package != "" && !versioned:
		d.Bad(path, "which version? Give the variant one, or subject.package one for all: %s@v1.2.3", s.Package)
	}
}

func (d *decoder) metrics(p *experiment.Plan) {
	if p.Goal == nil && len(p.Guards) == 0 {
		d.Bad("", "there is neither a goal nor a guard, so that nothing could pass or fail: name the metric to improve, or those that must not get worse")
	}
	if g := p.Goal; g != nil {
		d.metric("goal", g.Metric)
		d.margin("goal", g.Margin)
	}
	if len(p.Guards) > maxGuards {
		d.Bad("guards", "these are %d, and %d are the most", len(p.Guards), maxGuards)
		return
	}
	seen := map[string]bool{}
	for i, g := range p.Guards {
		path := fmt.Sprintf("guards[%d]", i)
		d.metric(path, g.Metric)
		switch {
		case p.Goal != nil && g.Metric == p.Goal.Metric:
			d.Bad(path+".metric", "this is the goal, which is its own guard")
		case seen[g.Metric] && g.Metric != "":
			d.Bad(path+".metric", "%s is guarded twice", strictyaml.Quote(g.Metric))
		}
		seen[g.Metric] = true
		if !d.Given(path + ".margin") {
			d.Bad(path, "how much worse may it get? Give a margin, such as 10%%")
			continue
		}
		d.margin(path, g.Margin)
	}
}

func (d *decoder) metric(path, name string) {
	m, ok := experiment.MetricByName(name)
	if ok {
		if m.Better == experiment.Neither {
			d.Bad(path+".metric", "%s is neither better high nor low: it can be looked at, and not be a goal or guard", name)
		}
		return
	}
	if name == "" {
		d.Bad(path, "which metric? Such as gc_cpu_ratio, rss_peak_bytes or latency_p99_seconds")
		return
	}
	var names []string
	for _, m := range experiment.Metrics() {
		names = append(names, m.Name)
	}
	if like := strictyaml.Near(name, names, 3); len(like) > 0 {
		d.Bad(path+".metric", "%s is not measured; did you mean %s?", strictyaml.Quote(name), strings.Join(like, " or "))
		return
	}
	d.Bad(path+".metric", "%s is not measured; there are %s", strictyaml.Quote(name), strings.Join(names, ", "))
}

func (d *decoder) margin(path string, m experiment.Ratio) {
	if !(m >= 0.001 && m <= 1) {
		d.Bad(path+".margin", "%s is not from 0.1%% to 100%%", percent(m))
	}
}

func percent(r experiment.Ratio) string {
	return strconv.FormatFloat(100*float64(r), 'g', 6, 64) + "%"
}

func (d *decoder) design(g *experiment.Design) {
	d.Word("design.kind", g.Kind, experiment.Auto, experiment.Switchback, experiment.Duet, experiment.Both)
	if g.Calibration != 0 && (g.Calibration < minPairs || g.Calibration > maxPairs) {
		d.Bad("design.calibration", "%d is neither 0, for none, nor from %d to %d", g.Calibration, minPairs, maxPairs)
	}
	if n := len(g.Looks); n == 0 || n > maxLooks {
		d.Bad("design.looks", "give 1 to %d numbers of pairs, such as [10, 16, 24]", maxLooks)
	}
	for i, n := range g.Looks {
		path := fmt.Sprintf("design.looks[%d]", i)
		switch {
		case n < minPairs:
			d.Bad(path, "%d pairs have no interval: %d are the fewest", n, minPairs)
		case n > maxPairs:
			d.Bad(path, "%d pairs are more than %d", n, maxPairs)
		case i > 0 && n <= g.Looks[i-1]:
			d.Bad(path, "looks are in order: %d is not more than %d", n, g.Looks[i-1])
		}
	}
	d.During("design.warmup", g.Warmup, 0, 10*time.Minute)
	d.During("design.measure", g.Measure, 100*time.Millisecond, time.Hour)
}
