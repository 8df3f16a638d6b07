package guard

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
)

// A Config says how a service is guarded. The zero Config is a good one: it sheds
// load for memory, for the collector and for the CPU, and calls nothing of the
// service's.
type Config struct {
	// Limit is the memory limit in bytes, 0 for none known now, where it is not the
	// cgroup's. It must not block.
	Limit func() uint64

	// Objectives are what has to be kept; nil are DefaultObjectives, an empty slice
	// is none.
	Objectives []Objective
	// Ladder are the degradations, the mildest first, at most 64; nil is
	// DefaultLadder, an empty slice is none.
	Ladder []Degradation
	// Reach is how many rungs objectives alone may climb. What memory does not ask
	// for, a pause does not repair: 0 is all rungs that admit every request, and
	// one that does not.
	Reach int
	// Trim is called when memory becomes scarce, by the first rung of DefaultLadder,
	// to give up caches and pools. It is called again each time that rung is reached.
	Trim func(context.Context) error
	// Signals are the service's own, for Objectives. They are read once a second.
	Signals []sli.Custom

	// Shed are the options of the gate, HTTP those of Handler.
	Shed shed.Options
	HTTP shed.HandlerOptions
	// NoLimiter turns off the bound on requests in flight: then only the ladder sheds.
	NoLimiter bool

	// Evidence, where set, is captured when the state becomes Degraded, and when the
	// top of the ladder is reached. It stays the caller's to close, after the guard.
	Evidence *evidence.Recorder

	// OnEvent is called with what happens, in order, one call after the other. It may
	// block: up to 256 events wait, then the oldest are lost, and counted.
	OnEvent func(Event)
	// Logger is told the same; nil is slog.Default.
	Logger *slog.Logger

	// CallbackTimeout is when the context of Enter, Exit and Trim ends; 10 s. One that
	// goes on all the same is left alone, and not called again until it has returned.
	CallbackTimeout time.Duration

	// DryRun watches, decides and reports, but sheds nothing and calls neither Enter
	// nor Exit.
	DryRun bool
}

// A Degradation is a rung of the ladder.
type Degradation struct {
	Name string
	// Enter degrades the service, Exit undoes it. Each Enter that was called is
	// followed by one Exit, also when it failed or panicked; the two never run at
	// once. Either may be nil.
	Enter, Exit func(context.Context) error
	// Admit is the share of the requests of each class that is admitted on this rung
	// and above it. nil admits all; a class that is left out of a literal admits none,
	// so begin with shed.All. No class may have less than one that matters less.
	Admit *shed.Shares
	// At a memory ratio of Above the rung is climbed to, and it is left below Below.
	// The ratio is the larger of sli.MemoryRatio and sli.GoMemoryRatio. Zero Above:
	// memory does not lead here.
	Above, Below float64
	// NotReady makes Ready false on this rung and above it, so that load balancers
	// send requests elsewhere.
	NotReady bool
}

// DefaultLadder is the ladder of a Config that has none: with Trim a rung that calls
// it at 80% of the limit; then no requests of class Low at 88%, half of Normal at 92%,
// and a tenth of Normal, half of High and no readiness at 96%. The limiter acts before
// all of those that shed.
func DefaultLadder(trim func(context.Context) error) []Degradation {
	all := shed.Shares{}
	for i := range all {
		all[i] = 1
	}
	with := func(normal, high float64) *shed.Shares {
		s := all
		s[shed.Low], s[shed.Normal], s[shed.High] = 0, normal, high
		return &s
	}
	var ladder []Degradation
	if trim != nil {
		ladder = append(ladder, Degradation{Name: "trim", Enter: trim, Above: 0.80, Below: 0.72})
	}
	return append(ladder,
		Degradation{Name: "shed_low", Admit: with(1, 1), Above: 0.88, Below: 0.81},
		Degradation{Name: "shed_half", Admit: with(0.5, 1), Above: 0.92, Below: 0.86},
		Degradation{Name: "shed_most", Admit: with(0.1, 0.5), Above: 0.96, Below: 0.90, NotReady: true},
	)
}

// ConfigError says what of a Config cannot be.
type ConfigError struct{ What string }

func (e *ConfigError) Error() string { return "guard: " + e.What }

const (
	maxRungs   = 64
	maxSignals = 64 // what a sli.Reading holds
)

// complete fills in the defaults, in copies of what is the caller's.
func (c Config) complete() (Config, error) {
	if c.Ladder == nil {
		c.Ladder = DefaultLadder(c.Trim)
	} else if c.Trim != nil {
		return c, &ConfigError{"Trim is of the default ladder; with a ladder of your own, make it a rung's Enter"}
	}
	if c.Objectives == nil {
		c.Objectives = DefaultObjectives()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.CallbackTimeout == 0 {
		c.CallbackTimeout = 10 * time.Second
	}
	if c.CallbackTimeout < 0 {
		return c, &ConfigError{"CallbackTimeout is negative"}
	}
	if len(c.Ladder) > maxRungs {
		return c, &ConfigError{fmt.Sprintf("a ladder has at most %d rungs; this one has %d", maxRungs, len(c.Ladder))}
	}
	if c.Shed.Capacity < 0 {
		return c, &ConfigError{"Shed.Capacity is negative; 0 is no bound"}
	}
	c.Ladder = slices.Clone(c.Ladder)
	last := 0.0
	for i, d := range c.Ladder {
		bad := func(format string, args ...any) (Config, error) {
			return c, &ConfigError{fmt.Sprintf("rung %d (%q): "+format, append([]any{i + 1, d.Name}, args...)...)}
		}
		switch {
		case d.Name == "":
			return bad("it has no name")
		case d.Above == 0 && d.Below == 0:
		case !(d.Below > 0 && d.Below < d.Above && d.Above <= 2):
			return bad("it needs 0 < Below < Above, the band in which it is held; they are %v and %v", d.Below, d.Above)
		case d.Above < last:
			return bad("it is for less memory than a rung below it")
		}
		last = max(last, d.Above)
		if d.Admit != nil {
			own := *d.Admit
			c.Ladder[i].Admit = &own
			for _, v := range own {
				if math.IsNaN(v) || v < 0 || v > 1 {
					return bad("a share of requests is between 0 and 1; it is %v", v)
				}
			}
			if own[shed.Low] > own[shed.Normal] || own[shed.Normal] > own[shed.High] {
				return bad("it admits less of a class than of one that matters less: %v", own)
			}
		}
	}
	if c.Reach < 0 || c.Reach > len(c.Ladder) {
		return c, &ConfigError{fmt.Sprintf("Reach is %d; the ladder has %d rungs", c.Reach, len(c.Ladder))}
	}
	if c.Reach == 0 {
		for i, d := range c.Ladder {
			c.Reach = i + 1
			if d.Admit != nil {
				break
			}
		}
	}
	objectives := make([]Objective, len(c.Objectives))
	for i, o := range c.Objectives {
		var err error
		if objectives[i], err = o.withDefaults(); err != nil {
			return c, err
		}
	}
	c.Objectives = objectives
	known := sli.Signals()
	if len(c.Signals) > maxSignals {
		return c, &ConfigError{fmt.Sprintf("a service has at most %d signals of its own; there are %d", maxSignals, len(c.Signals))}
	}
	for _, s := range c.Signals {
		switch {
		case s.Name == "" || s.Read == nil:
			return c, &ConfigError{"a signal of the service's own needs a name and a function"}
		case slices.Contains(known, s.Name):
			return c, &ConfigError{fmt.Sprintf("there are two signals %q", s.Name)}
		}
		known = append(known, s.Name)
	}
	for _, o := range objectives {
		if !slices.Contains(known, o.Signal) {
			return c, &ConfigError{fmt.Sprintf("objective %q: there is no signal %q; there are %q", o.Name, o.Signal, known)}
		}
	}
	return c, nil
}
