package pacer

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/heapwright/heapwright/record"
)

// A Twin is a model of one process. It is not changed by use, and may be used
// by several goroutines.
type Twin struct {
	model    Model
	course   *course
	current  Settings
	workload Workload
	missing  []string
	draws    []draw
}

// Fit makes the twin of the process that a recording shows. Errors: *ShortError,
// *UnfitError, *UnsupportedError.
func Fit(rec *record.Recording) (*Twin, error) {
	m, err := ModelOf(rec.Process.GoVersion)
	if err != nil {
		return nil, err
	}
	l := open(rec)
	c, missing, err := l.course()
	if err != nil {
		return nil, err
	}
	t := &Twin{model: m, course: c, current: l.settings(), missing: missing, workload: c.workload()}
	t.draws = draws(c.doubt())
	return t, nil
}

// Under is the same process under the pacer of another Go release. What a cycle
// costs is as it was measured: another release may mark faster or slower.
func (t *Twin) Under(goVersion string) (*Twin, error) {
	m, err := ModelOf(goVersion)
	if err != nil {
		return nil, err
	}
	u := *t
	u.model = m
	if m != t.model {
		u.missing = append(slices.Clone(t.missing), fmt.Sprintf("What a GC cycle costs was measured under %v and may differ under %v.", t.model, m))
	}
	return &u, nil
}

// Current is what the process was set to at the end of the recording.
func (t *Twin) Current() Settings { return t.current }

// Workload is what the recording says of the program.
func (t *Twin) Workload() Workload { return t.workload }

// Missing says what the recording lacked, and what is less sure for it, in full sentences.
func (t *Twin) Missing() []string { return slices.Clone(t.missing) }

// Budgets of cycles that are gone through one by one: of the replay that a
// forecast is, and of those that give it its intervals.
const (
	fullBudget = 2400
	drawBudget = 720
)

func (t *Twin) replay(s Settings, d draw, full bool) tally {
	r := replay{m: t.model, c: t.course, s: s, d: d, full: full, budget: drawBudget}
	if full {
		r.budget = fullBudget
	}
	return r.run()
}

// Forecast replays the recording under other settings.
func (t *Twin) Forecast(s Settings) Forecast {
	c := t.course
	mid := t.replay(s, exactly, true)
	tallies := make([]tally, len(t.draws))
	limited := 0
	for i, d := range t.draws {
		tallies[i] = t.replay(s, d, false)
		if tallies[i].limited {
			limited++
		}
	}
	if mid.limited {
		limited++
	}
	quantity := func(of func(*tally) float64, own float64) Estimate {
		x := inexact{mid: of(&mid), v: make([]float64, len(tallies))}
		for i := range tallies {
			x.v[i] = of(&tallies[i])
		}
		return x.interval(own)
	}
	gcCores := func(y *tally) float64 { return y.gcCPU / y.seconds }
	cpu := func(y *tally) float64 {
		return (c.cpu*c.seconds+c.follow*y.cycles)/y.seconds + gcCores(y)
	}
	own := c.ownError(&mid)
	f := Forecast{
		Settings: s, Span: duration(c.seconds),
		CyclesPerSecond: quantity(func(y *tally) float64 { return y.cycles / y.seconds }, own.cycles),
		GCCPUCores:      quantity(gcCores, own.cpu),
		PauseRatio:      quantity(func(y *tally) float64 { return y.stopped / y.seconds }, own.pause),
		HeapPeakBytes:   quantity(func(y *tally) float64 { return y.heapPeak }, own.heap),
		OOMProbability:  Estimate{}, LimiterProbability: chance(limited, len(tallies)+1),
	}
	f.CPUCores = known(quantity(cpu, own.cpu), c.cpuKnown)
	f.GCCPURatio = ratio(quantity(func(y *tally) float64 { return gcCores(y) / cpu(y) }, own.cpu), c.cpuKnown)
	f.AssistRatio = ratio(quantity(func(y *tally) float64 { return y.assist / y.seconds / cpu(y) }, own.assist), c.cpuKnown)
	// The whole of the heap moves with its peak, and RSS with the heap.
	like := func(v float64, e Estimate) Estimate {
		return Estimate{v, v * e.Low / e.Estimate, v * e.High / e.Estimate}
	}
	f.HeapP50Bytes, f.HeapP90Bytes = like(mid.heap.quantile(0.5), f.HeapPeakBytes), like(mid.heap.quantile(0.9), f.HeapPeakBytes)
	f.RSSPeakBytes = known(quantity(func(y *tally) float64 { return y.rssPeak }, own.rss), c.rssKnown)
	f.RSSP50Bytes = known(like(mid.rss.quantile(0.5), f.RSSPeakBytes), c.rssKnown)
	f.RSSP90Bytes = known(like(mid.rss.quantile(0.9), f.RSSPeakBytes), c.rssKnown)
	f.OOMProbability = oom(f.RSSPeakBytes, float64(s.ContainerLimitBytes))
	f.Notes = t.notes(s, &f, &mid)
	return f
}

var unknown = Estimate{math.NaN(), math.NaN(), math.NaN()}

func known(e Estimate, ok bool) Estimate {
	if !ok {
		return unknown
	}
	return e
}

// ratio keeps a share between 0 and 1.
func ratio(e Estimate, ok bool) Estimate {
	if !ok {
		return unknown
	}
	return Estimate{min(e.Estimate, 1), min(e.Low, 1), min(e.High, 1)}
}

// oom is the chance that RSS passes a limit.
func oom(peak Estimate, limit float64) Estimate {
	switch {
	case limit <= 0:
		return Estimate{}
	case math.IsNaN(peak.Estimate):
		return unknown
	}
	sd := math.Log(peak.High/peak.Low) / (2 * z90)
	at := func(v float64) float64 { return normalCDF(math.Log(v/limit) / max(sd, 1e-6)) }
	return Estimate{at(peak.Estimate), at(math.Sqrt(peak.Estimate * peak.Low)), at(math.Sqrt(peak.Estimate * peak.High))}
}

// notes say why to trust a forecast less.
func (t *Twin) notes(s Settings, f *Forecast, mid *tally) []string {
	var notes []string
	say := func(format string, a ...any) { notes = append(notes, fmt.Sprintf(format, a...)) }
	c := t.course
	peak := t.workload.LivePeakBytes.Estimate
	if s.GOMEMLIMITBytes < NoMemoryLimit && float64(s.GOMEMLIMITBytes) < peak+c.besideHeap() {
		say("The limit is below what lives: collections follow each other without end, and the heap passes the limit all the same.")
	}
	if free := c.fill.at(0, 1-c.fill.share); mid.byLimit > mid.cycles/2 && free > 0.1*peak {
		say("Objects that live share spans with garbage in this program: free slots between them count against the memory limit, up to %d MiB more of them than is forecast if it ever was fragmented.", int(free)>>20)
	}
	if mid.cycles < 3 {
		say("There would be %.1f cycles in the time that was recorded: rates are rough.", mid.cycles)
	}
	if mid.backlog > 0.05*c.seconds {
		say("The program would not keep up: it needs %.0f%% more time for the same work.", 100*mid.backlog/c.seconds)
	}
	if t.workload.Grows {
		say("The live heap grew while it was recorded, and would have gone on to grow.")
	}
	if s.GOMAXPROCS > 0 && float64(s.GOMAXPROCS) != c.procs {
		say("Another GOMAXPROCS also changes how the program itself runs; only the collector's side is in the forecast.")
	}
	return notes
}

// Forecasts replays it under many, on all CPUs.
func (t *Twin) Forecasts(s []Settings) []Forecast {
	out := make([]Forecast, len(s))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(s))
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < len(s); i += workers {
				out[i] = t.Forecast(s[i])
			}
		}()
	}
	wg.Wait()
	return out
}

// stormRatio is the share of all CPUs that the collector takes in a storm.
const stormRatio = 0.25

// StormFloorBytes is the lowest GOMEMLIMIT, in bytes, at which the collector
// still keeps up with the program: below it, it would take more than a quarter
// of the CPUs that the process can have, or its CPU limiter would step in, or one
// cycle would follow the other without end. NaN where no limit is high enough.
func (t *Twin) StormFloorBytes() Estimate {
	c := t.course
	floor := func(d draw) float64 {
		storms := func(limit float64) bool {
			y := t.replay(Settings{GOGCPercent: -1, GOMEMLIMITBytes: int64(limit)}, d, false)
			return y.limited || y.cornered > y.cycles/2 || !(y.gcCPU/y.seconds <= stormRatio*c.cores)
		}
		low, high := c.besideHeap()*d.beside, c.besideHeap()*d.beside+64<<20
		for _, m := range c.marks {
			high = max(high, c.besideHeap()*d.beside+8*m.live*d.live)
		}
		if storms(high) {
			return math.NaN() // no limit helps: the collector is not what is short of memory
		}
		for high-low > 1<<18 && high-low > low/512 {
			if mid := (low + high) / 2; storms(mid) {
				low = mid
			} else {
				high = mid
			}
		}
		return high
	}
	doubt := c.doubt()
	at := func(z float64) draw { return doubt.at(z, z, z, z, z, 0, z) }
	// All at once to the bad side would be too bad by the square root of their number.
	z := z90 / math.Sqrt(4)
	return Estimate{floor(exactly), floor(at(-z)), floor(at(z))}
}
