package planfile

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Defaults. docs/formats/experiment.md has them too.
const (
	defaultSeed        = 1
	defaultReadyWithin = 20 * time.Second
	defaultStopSignal  = "SIGTERM"
	defaultStopWithin  = 5 * time.Second
	defaultKneeShare   = 0.6
	defaultConnections = 64
	defaultTimeout     = 5 * time.Second
	defaultMargin      = 0.05
	defaultCalibration = 12
	defaultWarmup      = 1500 * time.Millisecond
	defaultMeasure     = 6 * time.Second
	defaultBudget      = 30 * time.Minute
)

func defaultLooks() []int { return []int{10, 16, 24, 32, 40} }

// defaults fills in what the file leaves out.
func (d *decoder) defaults(name string) {
	p := &d.file.Plan
	fill(d, "name", &p.Name, nameOf(name))
	fill(d, "seed", &p.Seed, defaultSeed)
	s := &p.Subject
	fill(d, "subject.ready.within", &s.Ready.Within, defaultReadyWithin)
	if !d.Given("subject.ready.http") {
		fill(d, "subject.ready.tcp", &s.Ready.TCP, "127.0.0.1:{port}")
	}
	fill(d, "subject.stop.signal", &s.Stop.Signal, defaultStopSignal)
	fill(d, "subject.stop.within", &s.Stop.Within, defaultStopWithin)
	if s.Git != nil {
		fill(d, "subject.git.repository", &s.Git.Repository, ".")
		fill(d, "subject.git.package", &s.Git.Package, ".")
	}
	l := &p.Load
	fill(d, "load.knee_share", &l.KneeShare, defaultKneeShare)
	fill(d, "load.arrivals", &l.Arrivals, experiment.Poisson)
	fill(d, "load.connections", &l.Connections, defaultConnections)
	fill(d, "load.timeout", &l.Timeout, defaultTimeout)
	if l.HTTP != nil {
		fill(d, "load.http.protocol", &l.HTTP.Protocol, protocolHTTP1)
		for i := range l.HTTP.Requests {
			r, path := &l.HTTP.Requests[i], fmt.Sprintf("load.http.requests[%d].", i)
			fill(d, path+"method", &r.Method, "GET")
			fill(d, path+"weight", &r.Weight, 1)
			fill(d, path+"expect", &r.Expect, 200)
		}
	}
	if p.Goal != nil {
		fill(d, "goal.margin", &p.Goal.Margin, defaultMargin)
	}
	g := &p.Design
	fill(d, "design.kind", &g.Kind, experiment.Auto)
	fill(d, "design.calibration", &g.Calibration, defaultCalibration)
	if !d.Given("design.looks") {
		g.Looks = defaultLooks()
	}
	fill(d, "design.warmup", &g.Warmup, defaultWarmup)
	fill(d, "design.measure", &g.Measure, defaultMeasure)
	fill(d, "budget.time", &p.Budget.Time, defaultBudget)
}

// fill sets a value that the file does not give.
func fill[T any](d *decoder, path string, v *T, value T) {
	if !d.Given(path) {
		*v = value
	}
}
