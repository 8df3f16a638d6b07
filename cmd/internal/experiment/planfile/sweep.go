package planfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// A sweep stands for a grid of variants: every combination of its values, each with
// whatever else the baseline has.
type sweep struct {
	GOGC       []string `yaml:"gogc"`
	GOMEMLIMIT []string `yaml:"gomemlimit"`
	GOMAXPROCS []int    `yaml:"gomaxprocs"`
	Toolchain  []string `yaml:"toolchain"`
}

// An axis is one key of a sweep: what each of its values does to a variant, and what
// the variant is called for it.
type axis struct {
	key    string
	values []string
	set    func(v *experiment.Variant, i int) (name string)
}

func (s *sweep) axes() []axis {
	var procs []string
	for _, n := range s.GOMAXPROCS {
		procs = append(procs, fmt.Sprint(n))
	}
	all := []axis{
		{"toolchain", s.Toolchain, func(v *experiment.Variant, i int) string { v.Toolchain = s.Toolchain[i]; return v.Toolchain }},
		{"gogc", s.GOGC, func(v *experiment.Variant, i int) string { v.GOGC = s.GOGC[i]; return "gogc-" + v.GOGC }},
		{"gomemlimit", s.GOMEMLIMIT, func(v *experiment.Variant, i int) string {
			v.GOMEMLIMIT = s.GOMEMLIMIT[i]
			return "limit-" + v.GOMEMLIMIT
		}},
		{"gomaxprocs", procs, func(v *experiment.Variant, i int) string { v.GOMAXPROCS = s.GOMAXPROCS[i]; return "procs-" + procs[i] }},
	}
	return slices.DeleteFunc(all, func(a axis) bool { return len(a.values) == 0 })
}

// expand adds the variants of the sweep. They follow from the file alone, so that
// who reads it again has the same.
func (d *decoder) expand() {
	s, p := d.file.Sweep, &d.file.Plan
	if s == nil {
		return
	}
	axes := s.axes()
	combinations := 1
	for _, a := range axes {
		combinations *= min(len(a.values), 2*maxVariants)
		for i, v := range a.values {
			if slices.Contains(a.values[:i], v) {
				d.Bad(fmt.Sprintf("sweep.%s[%d]", a.key, i), "%s is there twice", strictyaml.Quote(v))
			}
		}
	}
	switch {
	case len(axes) == 0:
		d.Bad("sweep", "there is nothing to sweep: give one or more of gogc, gomemlimit, gomaxprocs and toolchain, each a list")
	case len(p.Variants) == 0:
		d.Bad("variants", "there is no baseline: a sweep is added to the first variant")
	case combinations > 2*maxVariants:
		d.Bad("sweep", "these are more than %d variants", maxVariants)
	}
	d.sweepValues(s)
	if d.Problems() > 0 {
		return // the variants would have the same problems
	}
	baseline := p.Variants[0]
	for n := range combinations {
		v := baseline
		v.Env, v.Args = maps.Clone(v.Env), slices.Clone(v.Args)
		v.BuildFlags, v.Tags = slices.Clone(v.BuildFlags), slices.Clone(v.Tags)
		var words []string
		rest := n
		for i := len(axes) - 1; i >= 0; i-- {
			a := axes[i]
			words = append(words, a.set(&v, rest%len(a.values)))
			rest /= len(a.values)
		}
		slices.Reverse(words)
		v.Name = strings.Join(words, "_")
		if v.GOGC == "off" && v.GOMEMLIMIT == "off" || sameSettings(v, baseline) {
			// Never collected, or the baseline once more: not what a grid is for.
			continue
		}
		d.Copied(fmt.Sprintf("variants[%d]", len(p.Variants)), "sweep")
		p.Variants = append(p.Variants, v)
	}
}

func sameSettings(a, b experiment.Variant) bool {
	return a.GOGC == b.GOGC && a.GOMEMLIMIT == b.GOMEMLIMIT && a.GOMAXPROCS == b.GOMAXPROCS && a.Toolchain == b.Toolchain
}

// sweepValues checks what a sweep's variants will have, where it stands.
func (d *decoder) sweepValues(s *sweep) {
	each := func(key string, values []string, check func(string) error) {
		for i, v := range values {
			if err := check(v); err != nil {
				d.Bad(fmt.Sprintf("sweep.%s[%d]", key, i), "%s", err)
			}
		}
	}
	each("gogc", s.GOGC, CheckGOGC)
	each("gomemlimit", s.GOMEMLIMIT, CheckGOMEMLIMIT)
	each("toolchain", s.Toolchain, checkToolchain)
	for i, n := range s.GOMAXPROCS {
		d.Within(fmt.Sprintf("sweep.gomaxprocs[%d]", i), n, 1, maxProcs)
	}
	if len(s.Toolchain) > 0 && len(d.file.Subject.Command) > 0 {
		d.Bad("sweep.toolchain", builtOnly)
	}
}
