package run

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/judge"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/cmd/internal/experiment/measure"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// What the twin is fitted from, and when it is worth it.
const (
	fitFor     = 20 * time.Second
	fitHz      = 50
	worthwhile = 4 * time.Minute // of budget
)

// forecast looks at the baseline for a while and asks the twin what the variants
// would do. Why says why it was not asked; only the end of the context is an error.
func (b *Bench) forecast(ctx context.Context, progress func(Progress)) (set map[int]map[string]experiment.Forecast, why string, err error) {
	variants := map[int]pacer.Settings{}
	for i := 1; i < len(b.programs); i++ {
		if s, ok := settings(b.Plan.Baseline(), b.Plan.Variants[i]); ok && b.programs[i].Build.SHA256 == b.programs[0].Build.SHA256 {
			variants[i] = s
		}
	}
	switch {
	case len(variants) == 0:
		return nil, "the variants differ in more than the collector's settings", nil
	case b.Plan.Budget.Time < worthwhile:
		return nil, fmt.Sprintf("the budget is below %v", worthwhile), nil
	}
	progress(Progress{Doing: "recording the baseline for the twin"})
	rec, err := b.record(ctx)
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if err != nil {
		return nil, err.Error(), nil
	}
	twin, err := pacer.Fit(rec)
	if err != nil {
		return nil, err.Error(), nil
	}
	base := twin.Forecast(twin.Current())
	set = map[int]map[string]experiment.Forecast{}
	for i, s := range variants {
		f := twin.Forecast(s)
		m := map[string]experiment.Forecast{}
		for name, of := range map[string]func(pacer.Forecast) pacer.Estimate{
			"gc_cycles_per_second":    func(f pacer.Forecast) pacer.Estimate { return f.CyclesPerSecond },
			"cpu_seconds_per_request": func(f pacer.Forecast) pacer.Estimate { return f.CPUCores },
			"rss_peak_bytes":          func(f pacer.Forecast) pacer.Estimate { return f.RSSPeakBytes },
			"rss_mean_bytes":          func(f pacer.Forecast) pacer.Estimate { return f.RSSP50Bytes },
		} {
			x, y := of(f), of(base)
			if y.Estimate > 0 && x.Estimate > 0 {
				// What is wrong about the fit is mostly wrong on both sides.
				m[name] = experiment.Forecast{Ratio: x.Estimate / y.Estimate, Low: x.Low / y.Estimate, High: x.High / y.Estimate}
			}
		}
		set[i] = m
	}
	return set, "", nil
}

// record looks at the baseline under the plan's load.
func (b *Bench) record(ctx context.Context) (*record.Recording, error) {
	r, err := b.start(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer r.stop(ctx)
	if r.end != nil {
		return nil, fmt.Errorf("the baseline ended by itself: %s", r.end.Text)
	}
	gen, err := load.Start(ctx, load.Config{
		Targets: []load.Target{load.Of(b.Plan.Load, r.process.Expand)}, Rate: b.rate, Arrivals: b.Plan.Load.Arrivals,
		Connections: b.Plan.Load.Connections, Timeout: b.Plan.Load.Timeout, Seed: b.Plan.Seed, Seconds: (2 * fitFor).Seconds(),
	})
	if err != nil {
		return nil, err
	}
	defer gen.Close()
	if died, err := b.warm(ctx, []*running{r}); died || err != nil {
		return nil, fmt.Errorf("warming the baseline up: %w", r.watch.Ended())
	}
	w, err := measure.Begin(ctx, r.process.PID(), fitHz)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.process.Done():
		return nil, fmt.Errorf("the baseline ended while it was recorded for the twin")
	case <-time.After(fitFor):
	}
	return w.Recording(), nil
}

// settings are those of a variant that differs from the baseline in nothing else.
func settings(base, v experiment.Variant) (pacer.Settings, bool) {
	plain := v
	plain.GOGC, plain.GOMEMLIMIT, plain.GOMAXPROCS, plain.MemoryLimit = base.GOGC, base.GOMEMLIMIT, base.GOMAXPROCS, base.MemoryLimit
	s := pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: math.MaxInt64, ContainerLimitBytes: uint64(v.MemoryLimit), GOMAXPROCS: v.GOMAXPROCS}
	if !judge.SameSettings(base, plain) {
		return s, false
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS"} {
		if _, ok := v.Env[name]; ok {
			return s, false
		}
	}
	switch v.GOGC {
	case "":
	case "off":
		s.GOGCPercent = -1
	default:
		n, err := strconv.ParseInt(v.GOGC, 10, 64)
		if err != nil {
			return s, false
		}
		s.GOGCPercent = n
	}
	if v.GOMEMLIMIT != "" && v.GOMEMLIMIT != "off" {
		n, ok := memoryLimit(v.GOMEMLIMIT)
		if !ok {
			return s, false
		}
		s.GOMEMLIMITBytes = n
	}
	return s, true
}

// memoryLimit reads a GOMEMLIMIT as the runtime does (runtime.parseByteCount).
func memoryLimit(text string) (int64, bool) {
	digits := strings.TrimRight(text, "BKMGTi")
	shift, ok := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}
