package planfile

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	experimentfile "github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
)

// Defaults. docs/formats/stress.md has them too.
const (
	defaultSeed      = 1
	defaultBefore    = time.Minute
	defaultBetween   = 10 * time.Second
	defaultRamp      = 10 * time.Second
	defaultLimitRamp = time.Minute // of limit.hard, whose every step can be the last
	defaultLimitStep = 10
	defaultLoopRamp  = 30 * time.Second // of a closed loop
	defaultHold      = 20 * time.Second
	defaultHostFree  = 0.1

	defaultRecoverWithin = time.Minute
	defaultStable        = 10 * time.Second
	defaultLiveHeap      = 0.05
	defaultWorkingSet    = 0.1
	defaultMemory        = 5 * time.Minute
	defaultGoroutines    = 0.02
	defaultLatency       = 0.5
)

// defaults fills in what the file leaves out, but for criteria, which depend on the
// rest.
func (d *decoder) defaults(name string) {
	f := &d.file
	fill(d, "name", &f.Name, experimentfile.NameOf(name, "stress"))
	fill(d, "seed", &f.Seed, defaultSeed)
	fill(d, "before", &f.Before, defaultBefore)
	fill(d, "between", &f.Between, defaultBetween)
	d.Words = []string{"seq"}
	if s := f.Target.Start; s != nil {
		d.Words = []string{"port", "dir", "seq"}
		d.SubjectDefaults("target.start", s)
		if !d.Given("target.ready") && s.Ready.HTTP != "" {
			f.Target.Ready = s.Ready.HTTP
		}
	}
	if f.Load != nil {
		d.LoadDefaults(f.Load)
		fill(d, "load.knee_share", &f.Load.KneeShare, 0) // there is none
	}
	for i := range f.Faults {
		d.faultDefaults(fmt.Sprintf("faults[%d]", i), &f.Faults[i])
	}
	r := &f.Recovery
	fill(d, "recovery.within", &r.Within, defaultRecoverWithin)
	fill(d, "recovery.stable", &r.Stable, defaultStable)
	fill(d, "recovery.live_heap", &r.LiveHeap, defaultLiveHeap)
	fill(d, "recovery.working_set", &r.WorkingSet, defaultWorkingSet)
	fill(d, "recovery.memory", &r.Memory, defaultMemory)
	fill(d, "recovery.goroutines", &r.Goroutines, defaultGoroutines)
	fill(d, "recovery.latency", &r.Latency, defaultLatency)
	fill(d, "caps.host_free", &f.Caps.HostFree, defaultHostFree)
}

func (d *decoder) faultDefaults(path string, f *fault) {
	fill(d, path+".name", &f.Name, string(f.Kind))
	ramp := defaultRamp
	switch {
	case f.Until != nil:
		ramp = defaultLoopRamp
	case f.Kind == chaos.Freeze, f.Kind == chaos.BlackHole, f.Kind == chaos.ResetPeer:
		ramp = 0
	case f.Kind == chaos.HardLimit:
		ramp = defaultLimitRamp
	}
	fill(d, path+".ramp", &f.Ramp, ramp)
	if f.Kind == chaos.HardLimit && f.Until == nil && f.Ramp > 0 {
		fill(d, path+".steps", &f.Steps, defaultLimitStep)
	}
	fill(d, path+".hold", &f.Hold, defaultHold)
	if f.Kind == chaos.BlackHole || f.Kind == chaos.ResetPeer {
		fill(d, path+".level", &f.Level, "100%")
	}
	if f.Kind == chaos.BlackHole {
		fill(d, path+".direction", &f.Direction, chaos.Both)
		fill(d, path+".end", &f.End, chaos.Keep)
	}
	if info, _ := f.Kind.Info(); info.Proxy && f.Proxy == "" {
		fill(d, path+".listen", &f.Listen, "127.0.0.1:0")
	}
	if f.Kind == chaos.Connections && d.file.Target.Start != nil {
		fill(d, path+".address", &f.Address, "127.0.0.1:{port}")
	}
}

// fill sets a value that the file does not give.
func fill[T any](d *decoder, path string, v *T, value T) {
	experimentfile.Fill(d.Parts, path, v, value)
}

// smallLimit is a memory limit below which a share of it is less than the floors in
// bytes, which would be most of what there is.
const smallLimit = 320 << 20

// Kinds of faults during which a default criterion is not looked at: what it is about
// is what the fault does.
var (
	exceptFreeze      = []chaos.Kind{chaos.Freeze}
	exceptGone        = []chaos.Kind{chaos.Freeze, chaos.BlackHole, chaos.ResetPeer}
	exceptSlow        = []chaos.Kind{chaos.Freeze, chaos.SlowDependency, chaos.BlackHole, chaos.ResetPeer}
	exceptLimit       = []chaos.Kind{chaos.HardLimit, chaos.Reclaim}
	exceptLimitCache  = []chaos.Kind{chaos.HardLimit, chaos.Reclaim, chaos.PageCache}
	exceptGoroutines  = []chaos.Kind{chaos.Goroutines, chaos.Stacks, chaos.Connections}
	exceptGCIsLimited = []chaos.Kind{chaos.SoftLimit, chaos.Churn}
)

// Hypothesis is what has to hold where a plan does not say it: all of HW-CHAOS/1 that
// can be seen with this plan.
func Hypothesis(p *chaos.Plan) []chaos.Criterion {
	return visible(p, []chaos.Criterion{
		{Metric: chaos.Ready, AtLeast: bound(1), For: 2 * time.Second, Except: exceptFreeze},
		{Metric: chaos.ErrorRatio, AtMost: bound(0.001), Tolerated: bound(0.01), For: 5 * time.Second, Except: exceptGone},
		{Metric: chaos.LatencyP99, AtMost: bound(1.5), Tolerated: bound(2), OfBaseline: true, For: 5 * time.Second, Except: exceptSlow},
		{Metric: chaos.GCCPURatio, AtMost: bound(0.25), Tolerated: bound(0.4), For: 5 * time.Second},
		{Metric: chaos.LimiterOn, AtMost: bound(0), For: time.Second, Except: exceptGCIsLimited},
		{Metric: chaos.HeadroomRatio, AtLeast: bound(0.05), For: time.Second, Except: exceptLimit},
		{Metric: chaos.Headroom, AtLeast: bound(32 << 20), For: time.Second, Except: exceptLimit},
		{Metric: chaos.PressureFull, AtMost: bound(0.05), Tolerated: bound(0.1), For: 3 * time.Second, Except: exceptLimit},
		{Metric: chaos.LimitEvents, AtMost: bound(0), Except: exceptLimitCache},
		{Metric: chaos.OOMKills, AtMost: bound(0)},
		{Metric: chaos.GoroutineCount, AtMost: bound(2), Tolerated: bound(10), OfBaseline: true, For: 5 * time.Second, Except: exceptGoroutines},
		{Metric: chaos.Restarts, AtMost: bound(0)},
	})
}

// Abort is what ends every plan. What a plan says of a metric takes the place of what
// is said here; the others stay, so that a plan can move a bound and cannot forget one.
func Abort(p *chaos.Plan) []chaos.Criterion {
	return visible(p, []chaos.Criterion{
		{Metric: chaos.HeadroomRatio, AtLeast: bound(0.03), Except: exceptLimit},
		{Metric: chaos.Headroom, AtLeast: bound(16 << 20), Except: exceptLimit},
		{Metric: chaos.HeadroomSeconds, AtLeast: bound(3), For: 500 * time.Millisecond, Except: exceptLimitCache},
		{Metric: chaos.OOMKills, AtMost: bound(0)},
		{Metric: chaos.LimitEvents, AtMost: bound(0), Except: exceptLimitCache},
		{Metric: chaos.PressureFull, AtMost: bound(0.2), For: 3 * time.Second},
		{Metric: chaos.LimiterOn, AtMost: bound(0), For: 2 * time.Second},
		{Metric: chaos.GCCPURatio, AtMost: bound(0.5), For: 5 * time.Second},
		{Metric: chaos.ErrorRatio, AtMost: bound(0.01), For: 5 * time.Second, Except: exceptGone},
		{Metric: chaos.LatencyP99, AtMost: bound(3), OfBaseline: true, For: 5 * time.Second, Except: exceptSlow},
		{Metric: chaos.Ready, AtLeast: bound(1), For: 2 * time.Second, Except: exceptFreeze},
		{Metric: chaos.HostFreeRatio, AtLeast: bound(float64(p.Caps.HostFree))},
		{Metric: chaos.Restarts, AtMost: bound(0)},
	})
}

func bound(v float64) *float64 { return &v }

// visible leaves out what nobody sees with the plan, and floors in bytes where they
// would be most of a small limit.
func visible(p *chaos.Plan, all []chaos.Criterion) []chaos.Criterion {
	var out []chaos.Criterion
	for _, c := range all {
		small := c.Metric == chaos.Headroom && p.Target.MemoryLimit > 0 && p.Target.MemoryLimit < smallLimit
		if info, _ := c.Metric.Info(); !small && unseen(p, info) == "" {
			out = append(out, c)
		}
	}
	return out
}

// unseen says why nobody sees a metric with the plan; "" where somebody may.
func unseen(p *chaos.Plan, m chaos.MetricInfo) string {
	switch {
	case m.Load && p.Load == nil:
		return "there is no load, and it is measured by who sends it: give load"
	case m.Guard && p.Target.Debug == "":
		return "it is read from the debug page: give target.debug"
	case m.Probe && p.Target.Ready == "":
		return "there is no URL to ask: give target.ready"
	}
	return ""
}
