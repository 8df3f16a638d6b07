package api

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

// plainSeries is a SeriesDocument as who reads JSON has it.
type plainSeries struct {
	Schema  string
	From    time.Time
	Step    float64 `json:"step_seconds"`
	Time    []float64
	Series  []plainLine
	Heat    *plainHeat
	Warning []string `json:"warnings"`
}

type plainLine struct {
	Name, Label, Unit string
	Values, Min, Max  []*float64
}

type plainHeat struct {
	Bounds []float64 `json:"bounds_seconds"`
	Counts [][]float64
}

func (d *plainSeries) line(t *testing.T, name string) plainLine {
	t.Helper()
	i := slices.IndexFunc(d.Series, func(l plainLine) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("there is no line %s", name)
	}
	return d.Series[i]
}

// service is 40 minutes of a service at 1 Hz.
func service() *record.Recording {
	return ruletest.Server{Seconds: 2400, Hz: 1, Container: 512 * mib, Limit: 256 * mib, Live: ruletest.Const(40 * mib), Alloc: ruletest.Const(20 * mib),
		Goroutines: ruletest.Const(120),
		SchedWait:  func(i int) time.Duration { return time.Duration(1+i%50) * 10 * time.Microsecond },
		FirstGoroutines: &record.Goroutines{Time: epoch.Add(time.Second), Total: 120, Groups: []record.GoroutineGroup{
			{Count: 100, Status: "waiting", WaitReason: "IO wait"}, {Count: 15, Status: "waiting", WaitReason: "select"}, {Count: 5, Status: "runnable"}}},
	}.Recording()
}

func seriesOf(set string, from, to time.Time, points int) string {
	return "series?" + url.Values{"process": {"web"}, "set": {set}, "from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "points": {fmt.Sprint(points)}}.Encode()
}

func TestSeries(t *testing.T) {
	w := newWorld(t)
	rec := service()
	// For five minutes nobody looked: the agent was off.
	gapFrom, gapTo := epoch.Add(10*time.Minute), epoch.Add(15*time.Minute)
	rec.Samples = slices.DeleteFunc(rec.Samples, func(s record.Sample) bool { return s.Time.After(gapFrom) && s.Time.Before(gapTo) })
	w.record("web", rec)
	w.now = epoch.Add(2400 * time.Second)

	for _, points := range []int{40, 160, 2000} {
		for _, set := range setNames {
			var d plainSeries
			if code := w.get(seriesOf(set, epoch, w.now, points), &d); code != 200 {
				t.Fatalf("%s: %d", set, code)
			}
			if d.Schema != schemaSeries || len(d.Time) > points || len(d.Time) < points/3 {
				t.Errorf("%s: %q with %d points, wanted at most %d", set, d.Schema, len(d.Time), points)
			}
			for i := 1; i < len(d.Time); i++ {
				if math.Abs(d.Time[i]-d.Time[i-1]-d.Step) > 1e-6 {
					t.Fatalf("%s: steps of %v and one of %v", set, d.Step, d.Time[i]-d.Time[i-1])
				}
			}
			if len(d.Series) == 0 || len(d.Warning) > 0 {
				t.Errorf("%s: %d lines, warnings %q", set, len(d.Series), d.Warning)
			}
			for _, l := range d.Series {
				if l.Label == "" || l.Unit == "" || len(l.Values) != len(d.Time) || count(l.Values) == 0 {
					t.Errorf("%s: %s %q in %q has %d values for %d times", set, l.Name, l.Label, l.Unit, len(l.Values), len(d.Time))
				}
				for i := range l.Min {
					if lo, v, hi := l.Min[i], l.Values[i], l.Max[i]; v != nil && (lo == nil || hi == nil || *lo > *v*1.00001 || *hi < *v*0.99999) {
						t.Errorf("%s: %s at %v: %v is not between %v and %v", set, l.Name, d.Time[i], v, lo, hi)
						break
					}
				}
				// Nothing is shown of the time in which nothing was seen, after what was last
				// seen has become old.
				for i, at := range d.Time {
					when := time.UnixMilli(int64(at * 1000))
					stale := max(time.Duration(d.Step*float64(time.Second)), 50*time.Second)
					if l.Unit != "count" && l.Values[i] != nil && when.After(gapFrom.Add(stale)) && when.Before(gapTo) && !slices.Contains([]string{"gomemlimit_bytes", "container_limit_bytes", "gogc_percent", "gomaxprocs", "pause_max_seconds"}, l.Name) {
						t.Errorf("%s with steps of %v s: %s is %v in the gap, %v after its begin", set, d.Step, l.Name, *l.Values[i], when.Sub(gapFrom))
						break
					}
				}
			}
		}
	}
}

// What is shown is what happened.
func TestSeriesValues(t *testing.T) {
	w := newWorld(t)
	w.record("web", service())
	w.now = epoch.Add(2400 * time.Second)
	at := func(set, name string, points int) float64 {
		t.Helper()
		var d plainSeries
		w.get(seriesOf(set, epoch, w.now, points), &d)
		l := d.line(t, name)
		v := l.Values[len(l.Values)/2]
		if v == nil {
			t.Fatalf("%s is not known in the middle", name)
		}
		return *v
	}
	for _, points := range []int{40, 300, 2000} {
		for _, tc := range []struct {
			set, name string
			low, high float64
		}{
			{"gc", "alloc_bytes_per_second", 19 * mib, 21 * mib},
			{"gc", "gc_cycles_per_second", 0.3, 0.7},
			{"gc", "gc_cpu_ratio", 0.05, 0.05},
			{"memory", "container_limit_bytes", 512 * mib, 512 * mib},
			{"memory", "gomemlimit_bytes", 256 * mib, 256 * mib},
			{"memory", "heap_goal_bytes", 75 * mib, 90 * mib},
			{"memory", "heap_live_bytes", 38 * mib, 85 * mib},
			{"goroutines", "goroutines", 120, 120},
		} {
			if v := at(tc.set, tc.name, points); v < 0.999*tc.low || v > 1.001*tc.high {
				t.Errorf("%d points: %s is %v, want %v to %v", points, tc.name, v, tc.low, tc.high)
			}
		}
	}
	// A line has its highest and lowest, or says that it has not.
	res := w.send(Handler(w.sources), "GET", seriesOf("memory", epoch, w.now, 300), "", web.Reader).Body.String()
	if !strings.Contains(res, `"min":null`) || !strings.Contains(res, `"min":[`) || strings.Contains(res, `"min":[]`) {
		t.Errorf("got %.2000s", res)
	}
	// GOMEMLIMIT off is no line at 8 EiB.
	off := ruletest.Server{Seconds: 300, Hz: 1}.Recording()
	w.record("off", off)
	var d plainSeries
	w.get("series?process=off&set=memory&from="+epoch.Format(time.RFC3339)+"&to="+epoch.Add(5*time.Minute).Format(time.RFC3339), &d)
	for _, l := range d.Series {
		if l.Name == "gomemlimit_bytes" || l.Name == "container_limit_bytes" {
			t.Errorf("there is a line %s", l.Name)
		}
	}
}

func TestSeriesByReason(t *testing.T) {
	w := newWorld(t)
	w.record("web", service())
	w.now = epoch.Add(2400 * time.Second)
	var d plainSeries
	w.get(seriesOf("goroutines", epoch, epoch.Add(10*time.Minute), 300), &d)
	for name, want := range map[string]float64{"goroutines_waiting/IO wait": 100, "goroutines_waiting/select": 15, "goroutines_runnable": 5} {
		if l := d.line(t, name); *l.Values[len(l.Values)/2] != want {
			t.Errorf("%s is %v, want %v", name, *l.Values[len(l.Values)/2], want)
		}
	}
}

func TestHeat(t *testing.T) {
	w := newWorld(t)
	rec := service()
	w.record("web", rec)
	w.now = epoch.Add(2400 * time.Second)
	for _, points := range []int{40, 160, 600} {
		var d plainSeries
		w.get(seriesOf("sched", epoch, w.now, points), &d)
		if d.Heat == nil || len(d.Heat.Counts) != len(d.Time) || !slices.IsSorted(d.Heat.Bounds) {
			t.Fatalf("no heat map: %+v", d.Heat)
		}
		total, known := 0.0, 0
		for _, row := range d.Heat.Counts {
			if len(row) == 0 {
				continue
			}
			known++
			if len(row) != len(d.Heat.Bounds)+1 {
				t.Fatalf("%d buckets for %d bounds", len(row), len(d.Heat.Bounds))
			}
			for _, n := range row {
				total += n
			}
		}
		// 100 goroutines are scheduled in each sample, of which there is one a second.
		if want := float64(known) * d.Step * 100; total < 0.9*want || total > 1.1*want {
			t.Errorf("steps of %v s: %v were scheduled in %d steps, want %v", d.Step, total, known, want)
		}
		p50, p99 := d.line(t, "latency_p50_seconds"), d.line(t, "latency_p99_seconds")
		mid := len(p50.Values) / 2
		if a, b := *p50.Values[mid], *p99.Values[mid]; a < 100e-6 || a > 600e-6 || b < a || b > 2e-3 {
			t.Errorf("half waited less than %v s, and 1 of 100 more than %v s", a, b)
		}
	}
}

// A grid has no more points than were asked for, and they fall on multiples of its step.
func TestGrid(t *testing.T) {
	for _, span := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 15 * time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, maxSpan} {
		for _, points := range []int{2, 3, 10, 600, maxPoints} {
			for _, shift := range []time.Duration{0, time.Millisecond, 333 * time.Millisecond, 17 * time.Second} {
				from := epoch.Add(shift)
				g := gridOf(from, from.Add(span), points)
				if g.n > points+1 && g.step < steps[len(steps)-1] || g.n < 1 || g.n > maxPoints+1 {
					t.Errorf("%v in %d points: %d", span, points, g.n)
				}
				if g.from.UnixMilli()%g.step.Milliseconds() != 0 || g.from.Before(from) || g.to.Before(from.Add(span)) {
					t.Errorf("%v in %d points: from %v by %v", span, points, g.from, g.step)
				}
			}
		}
	}
}

func TestSeriesRefuses(t *testing.T) {
	w := newWorld(t)
	w.refused("series", 400, "process is missing")
	w.refused("series?process=a/b", 400, "no id")
	w.refused("series?process=a&set=x", 400, "not one of memory")
	w.refused("series?process=a&points=1e9", 400, "no number from 1 to 2000")
	w.refused("series?process=a&from=now&to=now-1h", 400, "not before")
	w.refused("series?process=a&from=yesterday", 400, "no time")
	w.refused("series?process=a&from=0", 400, "days apart")
	w.refused("series?process=a&form=now-1h", 400, `no parameter "form"`)
	w.refused("series?process=a&set=gc&set=cpu", 400, "2 times")
	w.refused("series?process=a&from=%zz", 400, "cannot be read")
	var d plainSeries
	if code := w.get("series?process=nobody", &d); code != 200 || len(d.Series) != 0 || len(d.Time) == 0 {
		t.Errorf("of a process that never was: %d with %d lines", code, len(d.Series))
	}
}

// A day of one process at 1 Hz, drawn in 600 points: all lines of a picture, with the
// highest and lowest of each step.
func BenchmarkSeries(b *testing.B) {
	w := newWorld(b)
	const day = 24 * time.Hour
	written := map[string]bool{}
	batch := w.db.Begin()
	for _, set := range []string{"memory", "gc"} {
		for _, l := range lineSets[set] {
			if written[l.metric] {
				continue
			}
			written[l.metric] = true
			every := time.Second
			if l.stale > 0 {
				every = l.stale * 2 / 5
			}
			s := w.db.Series(l.metric, series.Label{Name: "process", Value: "web"})
			for at := time.Duration(0); at < day; at += every {
				batch.Append(s, epoch.Add(at), 1e8+1e7*math.Sin(at.Seconds()/10))
			}
		}
	}
	if _, err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	w.now = epoch.Add(day)
	h := Handler(w.sources)
	for _, set := range []string{"memory", "gc"} {
		b.Run(set, func(b *testing.B) {
			for b.Loop() {
				if res := w.send(h, "GET", seriesOf(set, epoch, w.now, 600), "", web.Reader); res.Code != 200 {
					b.Fatal(res.Body)
				}
			}
		})
	}
}
