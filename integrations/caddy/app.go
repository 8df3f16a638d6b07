// Package heapwrightcaddy has Caddy keep its Go memory limit right, and shed load
// when memory, the collector or the CPU is in trouble. It is imported by a build of
// Caddy (cmd/caddy is one; xcaddy makes others), and adds
//
//   - the app "heapwright", a global option of a Caddyfile: the memory limit and
//     the guard of the process;
//   - the handlers "heapwright_guard", which admits requests or answers 503, and
//     "heapwright_ready", for a load balancer to ask;
//   - metrics in Caddy's registry, which its metrics handler and its admin API serve;
//   - the page of package debugz at /debug/heapwright/ of the admin API.
//
// There is one guard and one memory limit in a process, since there is one heap.
// Both go on over config reloads, with what they have learnt, as long as their own
// settings stay as they are.
package heapwrightcaddy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
	heapwrightprometheus "github.com/heapwright/heapwright/integrations/prometheus"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/memlimit/control"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Ready{})
	caddy.RegisterModule(admin{})
	registerCaddyfile()
}

// App is the memory limit and the guard of the process. Without settings the memory
// limit is kept, and there is a guard as soon as a handler asks for it.
type App struct {
	MemoryLimit MemoryLimit `json:"memory_limit,omitzero"`
	// Guard are the settings of the guard. Without them it has its defaults.
	Guard *Guard `json:"guard,omitempty"`

	mu     sync.Mutex
	key    string // of guards, when guard is ours to give back
	guard  *process
	keeper *keeper
}

// MemoryLimit are the settings of package memlimit. Caddy sets a GOMEMLIMIT by
// itself, 90% of the container's or the host's memory, once; it is replaced where the
// container has a limit. One in the environment is kept.
type MemoryLimit struct {
	// Off leaves GOMEMLIMIT as Caddy set it.
	Off bool `json:"off,omitempty"`
	// Bytes is the limit of the process. Default: that of its container.
	Bytes uint64 `json:"bytes,omitempty"`
	// File has the limit, as a Kubernetes downward API volume does.
	File string `json:"file,omitempty"`
	// Reserve is how many bytes stay free beside what is not Go's, at least. Default:
	// 2% of the limit, 32 MiB at least.
	Reserve uint64 `json:"reserve_bytes,omitempty"`
	// Interval is the time from one look at the limit to the next. Default: 1s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// DryRun sets nothing, and says in the log what would be set.
	DryRun bool `json:"dry_run,omitempty"`
	// Objective has GOGC chosen too, with these bounds. An empty one is the least CPU
	// for the collector. Default: GOGC stays as it is.
	Objective *MemoryObjective `json:"objective,omitempty"`
	// MinGOGC and MaxGOGC bound that choice, in percent. Default: 25 and 1000.
	MinGOGC int `json:"min_gogc,omitempty"`
	MaxGOGC int `json:"max_gogc,omitempty"`
}

// MemoryObjective is a control.Objective.
type MemoryObjective struct {
	GCCPURatio  float64        `json:"gc_cpu_ratio,omitempty"`
	AssistRatio float64        `json:"assist_ratio,omitempty"`
	PauseP99    caddy.Duration `json:"pause_p99,omitempty"`
}

// Guard are the settings of package guard.
type Guard struct {
	// Objectives are what has to be kept. Default: pauses below 15 ms, the collector
	// below 40% of the CPUs.
	Objectives []Objective `json:"objectives,omitempty"`
	// NoObjectives is to have none.
	NoObjectives bool `json:"no_objectives,omitempty"`
	// Capacity is how many bytes of requests may be in flight, however well all is.
	// Default: no bound but what the guard finds.
	Capacity int64 `json:"capacity_bytes,omitempty"`
	// Budget limits how much of the requests is shed by the ladder. What a bound on
	// requests in flight has no room for is refused all the same. Default: no limit.
	Budget *Budget `json:"budget,omitempty"`
	// Evidence is kept of what was to be seen when the guard trips. Default: none.
	Evidence *Evidence `json:"evidence,omitempty"`
	// NoLimiter turns off the bound on requests in flight that the guard finds.
	NoLimiter bool `json:"no_limiter,omitempty"`
	// DryRun watches and reports, and sheds nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// Objective is a guard.Objective: Signal is one of package sli's, Max in its unit.
type Objective struct {
	Name     string         `json:"name,omitempty"`
	Signal   sli.Signal     `json:"signal"`
	Max      float64        `json:"max"`
	Interval caddy.Duration `json:"interval,omitempty"`
	Window   caddy.Duration `json:"window,omitempty"`
	Ratio    float64        `json:"ratio,omitempty"`
	Cooldown caddy.Duration `json:"cooldown,omitempty"`
}

// Budget is a shed.Budget.
type Budget struct {
	MaxRatio float64        `json:"max_ratio"`
	Window   caddy.Duration `json:"window,omitempty"`
}

// Evidence is an evidence.Options.
type Evidence struct {
	Dir      string `json:"dir"`
	PerHour  int    `json:"per_hour,omitempty"`
	MaxBytes int64  `json:"max_bytes,omitempty"`
	Trace    bool   `json:"trace,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "heapwright", New: func() caddy.Module { return new(App) }}
}

// Provision checks the settings, and starts the guard if there are any for it.
func (a *App) Provision(ctx caddy.Context) error {
	a.keeper = theKeeper
	// First of all: the admin API serves the registry of a config from before that is
	// known to be good, and goes on with it when it is not.
	if registry := ctx.GetMetricsRegistry(); registry != nil {
		if err := registry.Register(heapwrightprometheus.NewCollector(a.keeper)); err != nil {
			return err
		}
	}
	if _, err := a.MemoryLimit.config(); err != nil {
		return err
	}
	if a.Guard != nil {
		if _, err := a.theGuard(); err != nil {
			return err
		}
	}
	return nil
}

// Start takes over the memory limit of the process.
func (a *App) Start() error {
	conf, err := a.MemoryLimit.config()
	if err != nil {
		return err
	}
	return a.keeper.take(a, conf)
}

// Stop gives the memory limit back, to the config that runs now.
func (a *App) Stop() error { return a.keeper.giveBack(a) }

// Cleanup gives the guard back.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.guard == nil {
		return nil
	}
	a.guard = nil
	_, err := guards.Delete(a.key)
	return err
}

// guards are those of this process by their settings: a config that has the same as
// the one before it has the same guard.
var guards = caddy.NewUsagePool()

// recorders are those of evidence, by their settings too: there is one flight
// recorder in a process, so that a guard with new settings could have none while the
// old one has it.
var recorders = caddy.NewUsagePool()

// A process is a guard, with what it gives back when it ends.
type process struct {
	*guard.Guard
	recorder Evidence // zero for none
}

// Destruct is called when no config has the guard any more.
func (p *process) Destruct() error { return errors.Join(p.Close(), p.recorder.giveBack()) }

// A recorder is an evidence.Recorder that several guards have.
type recorder struct{ *evidence.Recorder }

// Destruct is called when no guard has the recorder any more.
func (r recorder) Destruct() error { return r.Close() }

func (e Evidence) take() (*evidence.Recorder, error) {
	value, _, err := recorders.LoadOrNew(e, func() (caddy.Destructor, error) {
		r, err := evidence.New(evidence.Options{Dir: e.Dir, PerHour: e.PerHour, MaxBytes: e.MaxBytes, Trace: e.Trace, Logger: logger})
		return recorder{r}, err
	})
	if err != nil {
		return nil, err
	}
	return value.(recorder).Recorder, nil
}

func (e Evidence) giveBack() error {
	if e == (Evidence{}) {
		return nil
	}
	_, err := recorders.Delete(e)
	return err
}

// theGuard returns the guard, and starts it if no config that runs has it.
func (a *App) theGuard() (*process, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.guard != nil {
		return a.guard, nil
	}
	settings := Guard{}
	if a.Guard != nil {
		settings = *a.Guard
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	key := string(text)
	value, _, err := guards.LoadOrNew(key, func() (caddy.Destructor, error) { return settings.start(a.keeper) })
	if err != nil {
		return nil, err
	}
	a.key, a.guard = key, value.(*process)
	return a.guard, nil
}

func (s *Guard) start(k *keeper) (*process, error) {
	p := &process{}
	conf := guard.Config{
		Limit:     k.limitBytes,
		Shed:      shed.Options{Capacity: s.Capacity},
		NoLimiter: s.NoLimiter,
		DryRun:    s.DryRun,
		Logger:    logger,
	}
	if s.Capacity < 0 {
		return nil, errors.New("guard: the capacity is negative")
	}
	if s.NoObjectives {
		conf.Objectives = []guard.Objective{}
	}
	for _, o := range s.Objectives {
		if !slices.Contains(sli.Signals(), o.Signal) {
			return nil, fmt.Errorf("guard: there is no signal %q; there are %q", o.Signal, sli.Signals())
		}
		conf.Objectives = append(conf.Objectives, guard.Objective{
			Name: o.Name, Signal: o.Signal, Max: o.Max, Interval: time.Duration(o.Interval),
			Window: time.Duration(o.Window), Ratio: o.Ratio, Cooldown: time.Duration(o.Cooldown),
		})
	}
	if b := s.Budget; b != nil {
		if !(b.MaxRatio > 0 && b.MaxRatio <= 1) || b.Window < 0 {
			return nil, fmt.Errorf("guard: a budget is a ratio above 0 and up to 1, over a time; it is %v over %v", b.MaxRatio, time.Duration(b.Window))
		}
		conf.Shed.Budget = shed.Budget{MaxRatio: b.MaxRatio, Window: time.Duration(b.Window)}
	}
	if s.Evidence != nil {
		if *s.Evidence == (Evidence{}) {
			return nil, errors.New("guard: evidence has no directory")
		}
		var err error
		if conf.Evidence, err = s.Evidence.take(); err != nil {
			return nil, fmt.Errorf("guard: %w", err)
		}
		p.recorder = *s.Evidence
	}
	var err error
	if p.Guard, err = guard.Start(conf); err != nil {
		return nil, errors.Join(err, p.recorder.giveBack())
	}
	return p, nil
}

// config returns the settings of memlimit, nil when it is off.
func (s *MemoryLimit) config() (*memlimit.Config, error) {
	if s.Off {
		return nil, nil
	}
	bad := func(format string, args ...any) (*memlimit.Config, error) {
		return nil, fmt.Errorf("memory limit: "+format, args...)
	}
	conf := &memlimit.Config{
		Bytes: s.Bytes, File: s.File, Reserve: s.Reserve, Interval: time.Duration(s.Interval), DryRun: s.DryRun,
		MinGOGC: s.MinGOGC, MaxGOGC: s.MaxGOGC,
		// Caddy's main has set one, before any config: it is not the operator's.
		IgnoreOperator: os.Getenv("GOMEMLIMIT") == "",
		Logger:         logger,
	}
	switch {
	case s.Bytes > math.MaxInt64 || s.Reserve > math.MaxInt64:
		return bad("no machine has as much memory")
	case s.Interval < 0:
		return bad("the interval is negative")
	case s.Objective == nil && (s.MinGOGC != 0 || s.MaxGOGC != 0):
		return bad("bounds of GOGC are of no use without an objective: GOGC stays as it is")
	}
	if o := s.Objective; o != nil {
		if v := os.Getenv("GOGC"); v != "" {
			return bad("an objective chooses GOGC, which the environment sets to %s: unset it, or leave out the objective", v)
		}
		conf.Objective = &control.Objective{GCCPURatio: o.GCCPURatio, AssistRatio: o.AssistRatio, PauseP99: time.Duration(o.PauseP99)}
		if _, err := control.New(control.Config{Objective: *conf.Objective, MinGOGC: s.MinGOGC, MaxGOGC: s.MaxGOGC}); err != nil {
			return nil, err
		}
	}
	return conf, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
