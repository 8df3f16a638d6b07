package judge

import (
	"math"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func TestGrade(t *testing.T) {
	hosts := func(external ...float64) []experiment.Host {
		var all []experiment.Host
		for _, x := range external {
			all = append(all, experiment.Host{ExternalCPU: x})
		}
		return all
	}
	for _, c := range []struct {
		hosts []experiment.Host
		want  string
	}{
		{nil, ""},
		{hosts(0), "A"},
		{hosts(0.0999), "A"},
		{hosts(0.1), "B"},
		{hosts(0.5), "B"},
		{hosts(0.51), "C"},
		{hosts(0, 0, 0, 0.9), "A"}, // three of four
		{hosts(0, 0, 0.9, 0.9), "C"},
		{hosts(0, 0, 0.2, 0.9), "B"},
		{hosts(0.9, 0, 0, 0, 0), "A"},
		{[]experiment.Host{{ExternalCPU: 0.05, Steal: 0.05}}, "B"},
		{hosts(math.NaN()), "C"},
	} {
		if got := Grade(c.hosts); got != c.want {
			t.Errorf("%v: %q, want %q", c.hosts, got, c.want)
		}
	}
}
