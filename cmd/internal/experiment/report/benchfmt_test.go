package report

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func TestBenchUnits(t *testing.T) {
	seen := map[string]string{}
	for _, m := range experiment.Metrics() {
		unit := benchUnits[m.Name]
		if unit == "" || strings.ContainsAny(unit, " \t") {
			t.Errorf("%s has the unit %q", m.Name, unit)
		}
		if seen[unit] != "" {
			t.Errorf("%s and %s are both %s", seen[unit], m.Name, unit)
		}
		seen[unit] = m.Name
	}
}

// TestBenchfmt reads what was written as benchstat does.
func TestBenchfmt(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := Benchfmt(&b, s.r); err != nil {
				t.Fatal(err)
			}
			if name == "interrupted" || name == "hostile" {
				golden(t, name+".bench", b.String())
			}
			want := 0
			if s.r != nil {
				for _, block := range s.r.Blocks {
					if block.Invalid == "" && block.Phase != experiment.PhaseCalibration {
						want += len(block.Arms)
					}
				}
			}
			var variants []string
			got := 0
			r := benchfmt.NewReader(strings.NewReader(b.String()), name)
			for r.Scan() {
				switch rec := r.Result().(type) {
				case *benchfmt.Result:
					got++
					_, parts := rec.Name.Parts()
					last := ""
					for _, p := range parts {
						if v, ok := strings.CutPrefix(string(p), "/variant="); ok {
							last = v
						}
					}
					if last == "" || string(parts[len(parts)-1]) != "-2" {
						t.Errorf("%s has the parts %q", rec.Name, parts)
					}
					if !slices.Contains(variants, last) {
						variants = append(variants, last)
					}
					if v, ok := rec.Value("p99-sec"); !ok || v <= 0 {
						t.Errorf("%s has a p99 of %v", rec.Name, v)
					}
				case *benchfmt.UnitMetadata:
				case *benchfmt.SyntaxError:
					t.Errorf("line %d: %v", rec.Line, rec)
				}
			}
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%d lines, want %d", got, want)
			}
			if want > 0 && len(variants) != len(s.r.Header.Plan.Variants) {
				t.Errorf("variants %q of %d", variants, len(s.r.Header.Plan.Variants))
			}
			if r.Units().GetBetter("req/sec") != 1 || r.Units().GetBetter("p99-sec") != -1 {
				t.Error("the units do not say what is better")
			}
		})
	}
}
