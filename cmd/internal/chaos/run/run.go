// Package run conducts a plan of stress: it has the target started or found, asks
// whether every fault can be had before any is, puts load on, and goes from phase to
// phase while ten points a second are taken and a recording is made. What came of it is
// a [chaos.Run], and what that means is for package judge to say.
//
// It makes no fault and watches no condition itself. That is the keeper's, a process of
// its own, which hears from here ten times a second and undoes everything when it does
// not.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/record"
)

// A Lab is the machine that a plan is carried out on.
type Lab interface {
	// Machine says where we are.
	Machine() chaos.Machine
	// Sweep puts back what runs that were killed have left, and says what that was.
	Sweep(ctx context.Context) ([]string, error)
	// Open starts the target, or finds it.
	Open(ctx context.Context, plan *chaos.Plan, doing func(string)) (Target, error)
}

// A Target is what a plan is about. It serves one run.
type Target interface {
	Process() record.Process
	// Cgroup is the path of its memory cgroup and the version of that; "" for none.
	Cgroup() (path string, version int)
	// Resolve asks of every fault whether it can be had, and changes nothing.
	Resolve(ctx context.Context) ([]*fault.Resolved, error)
	// Gone is closed when the process has ended.
	Gone() <-chan struct{}

	// Keep gives the faults to the keeper. Times of what it says are since epoch.
	Keep(ctx context.Context, faults []*fault.Resolved, epoch time.Time) (Keeper, error)
	// Load starts what the target is asked, and returns when it is; nil for a plan without.
	Load(ctx context.Context) (Load, error)
	// Warm waits until its heap has settled.
	Warm(ctx context.Context) error
	// Watch begins to take points, and to record.
	Watch(ctx context.Context, epoch time.Time) (Watch, error)

	// Settings are what a run may change: what it is called, and what it is.
	Settings(ctx context.Context) map[string]string
	// Close stops a target that was started, and says what is left of it.
	Close(ctx context.Context) (left []string)
}

// A Keeper makes faults. See package keeper.
type Keeper interface {
	// Before says what was seen before the first fault.
	Before(points []chaos.Point) error
	Begin(fault int) error
	// Here says that we are, and what only we know.
	Here(map[chaos.Metric]float64)
	Abort(why string)
	// Events is closed when the keeper has ended.
	Events() <-chan chaos.Event
	// Undone is what became of a fault, once it is undone.
	Undone(fault int) (chaos.Done, bool)
	// Done has everything undone and the keeper ended.
	Done() (faults []chaos.Done, left []string, err error)
}

// A Load is what the target is asked meanwhile.
type Load interface {
	// Ticks is closed when the load has ended.
	Ticks() <-chan load.Tick
	Close()
}

// A Watch looks at the target.
type Watch interface {
	// Read is what is seen now. It does not wait for what is slow.
	Read(at time.Duration) chaos.Point
	// Cycles and Events are what came since they were asked last.
	Cycles() []chaos.Cycle
	Events() []chaos.Event
	// Recording is what was recorded between two instants. It may be called beside the
	// others.
	Recording(from, to time.Time) *record.Recording
	Close()
}

// A Preview is what is going to be done.
type Preview struct {
	Plan    *chaos.Plan
	Process record.Process
	Cgroup  string
	Faults  []*fault.Resolved
}

// Options say what to run.
type Options struct {
	Plan *chaos.Plan
	Text []byte // of the plan's file
	Hash string // of the text
	Tool string // name and version
	Lab  Lab
	// Confirm is asked before anything is done to the target. False ends the run.
	Confirm func(context.Context, Preview) (bool, error)
	// Progress is called ten times a second; it may be nil.
	Progress func(Progress)
	// Note is told what people should know at once; it may be nil.
	Note func(string)
}

// Progress is where a run is.
type Progress struct {
	Doing  string          // before the first phase: building, starting
	Phase  chaos.PhaseKind // "" before the first
	Fault  int             // -1 for none
	For    time.Duration   // how long the phase has lasted
	Level  float64         // of the fault, in the unit of its kind
	Point  chaos.Point
	Broken []string // criteria of the hypothesis that do not hold now
}

// ErrDeclined is returned when the user does not want it.
var ErrDeclined = errors.New("not confirmed: nothing was done")

// Look is what a plan would do. A target that would be started is not, and then it is
// not known whether its faults can be had.
func Look(ctx context.Context, lab Lab, plan *chaos.Plan) (Preview, error) {
	p := Preview{Plan: plan}
	if plan.Target.Start != nil {
		return p, nil
	}
	t, err := lab.Open(ctx, plan, func(string) {})
	if err != nil {
		return p, err
	}
	defer t.Close(ctx)
	p.Process = t.Process()
	p.Cgroup, _ = t.Cgroup()
	p.Faults, err = t.Resolve(ctx)
	return p, err
}

// Run carries a plan out. There is no run beside an error when nothing was tried;
// beside one that could not be begun, for which Run.Refused says why, the error is
// the reason itself.
func Run(ctx context.Context, opt Options) (*chaos.Run, error) {
	if opt.Progress == nil {
		opt.Progress = func(Progress) {}
	}
	if opt.Note == nil {
		opt.Note = func(string) {}
	}
	c := &conductor{Options: opt, user: ctx}
	c.run = &chaos.Run{
		Schema: chaos.ResultSchema, Tool: opt.Tool, Started: time.Now().UTC(),
		Plan: *opt.Plan, PlanText: string(opt.Text), PlanHash: opt.Hash, Machine: opt.Lab.Machine(),
		Phases: []chaos.Phase{}, Points: []chaos.Point{}, Cycles: []chaos.Cycle{}, Events: []chaos.Event{},
		Faults: []chaos.Done{}, Findings: []chaos.Diagnosed{}, Left: []string{},
	}
	err := c.conduct(ctx)
	switch {
	case err == nil:
		return c.run, nil
	case errors.Is(err, ErrDeclined):
		return nil, err
	case ctx.Err() != nil && len(c.run.Phases) == 0:
		return nil, fmt.Errorf("interrupted before the first phase: %w", ctx.Err())
	}
	if c.run.Refused == "" {
		c.run.Refused = err.Error()
	}
	return c.run, err
}
