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
	Fill(d.Parts, "name", &p.Name, NameOf(name, "experiment"))
	Fill(d.Parts, "seed", &p.Seed, defaultSeed)
	d.SubjectDefaults("subject", &p.Subject)
	d.LoadDefaults(&p.Load)
	if p.Goal != nil {
		Fill(d.Parts, "goal.margin", &p.Goal.Margin, defaultMargin)
	}
	g := &p.Design
	Fill(d.Parts, "design.kind", &g.Kind, experiment.Auto)
	Fill(d.Parts, "design.calibration", &g.Calibration, defaultCalibration)
	if !d.Given("design.looks") {
		g.Looks = defaultLooks()
	}
	Fill(d.Parts, "design.warmup", &g.Warmup, defaultWarmup)
	Fill(d.Parts, "design.measure", &g.Measure, defaultMeasure)
	Fill(d.Parts, "budget.time", &p.Budget.Time, defaultBudget)
}

// SubjectDefaults fills in what the program under test leaves out. Its keys stand
// under path.
func (d *Parts) SubjectDefaults(path string, s *experiment.Subject) {
	Fill(d, path+".ready.within", &s.Ready.Within, defaultReadyWithin)
	if !d.Given(path + ".ready.http") {
		Fill(d, path+".ready.tcp", &s.Ready.TCP, "127.0.0.1:{port}")
	}
	Fill(d, path+".stop.signal", &s.Stop.Signal, defaultStopSignal)
	Fill(d, path+".stop.within", &s.Stop.Within, defaultStopWithin)
	if s.Git != nil {
		Fill(d, path+".git.repository", &s.Git.Repository, ".")
		Fill(d, path+".git.package", &s.Git.Package, ".")
	}
}

// LoadDefaults fills in what the load leaves out.
func (d *Parts) LoadDefaults(l *experiment.Load) {
	Fill(d, "load.knee_share", &l.KneeShare, defaultKneeShare)
	Fill(d, "load.arrivals", &l.Arrivals, experiment.Poisson)
	Fill(d, "load.connections", &l.Connections, defaultConnections)
	Fill(d, "load.timeout", &l.Timeout, defaultTimeout)
	if l.HTTP != nil {
		Fill(d, "load.http.protocol", &l.HTTP.Protocol, protocolHTTP1)
		for i := range l.HTTP.Requests {
			r, path := &l.HTTP.Requests[i], fmt.Sprintf("load.http.requests[%d].", i)
			Fill(d, path+"method", &r.Method, "GET")
			Fill(d, path+"weight", &r.Weight, 1)
			Fill(d, path+"expect", &r.Expect, 200)
		}
	}
}

// Fill sets a value that the file does not give.
func Fill[T any](d *Parts, path string, v *T, value T) {
	if !d.Given(path) {
		*v = value
	}
}
