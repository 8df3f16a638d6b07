package exectrace

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/exp/trace"
)

// A script feeds a collector with events that the test makes up. Times are in ms.
type script struct {
	t *testing.T
	c *collector
	// g and p are the context of the next event.
	g trace.GoID
	p trace.ProcID
}

func newScript(t *testing.T, procs uint64) *script {
	s := &script{t: t, c: newCollector(100), g: trace.NoGoroutine, p: trace.NoProc}
	add(s, 0, trace.EventMetric, trace.Metric{Name: metricProcs, Value: trace.Uint64Value(procs)}, "")
	for p := range procs {
		s.proc(0, trace.ProcID(p), trace.ProcIdle, trace.ProcRunning)
	}
	return s
}

func add[D trace.EventDetails](s *script, ms float64, kind trace.EventKind, d D, at string) {
	s.t.Helper()
	e, err := trace.MakeEvent(trace.EventConfig[D]{Time: trace.Time(ms*1e6) + 1, Kind: kind, Goroutine: s.g, Proc: s.p, Details: d, Stack: stackOf(at)})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.c.take(&e); err != nil {
		s.t.Fatal(err)
	}
}

// stackOf is a stack of one function below the start of the goroutine.
func stackOf(at string) trace.Stack {
	if at == "" {
		return trace.NoStack
	}
	return trace.MakeStack([]trace.StackFrame{{PC: 1, Func: "runtime.mallocgc"}, {PC: 2, Func: at, File: "x.go", Line: 7}, {PC: 3, Func: "main.serve"}})
}

func (s *script) proc(ms float64, p trace.ProcID, from, to trace.ProcState) {
	s.t.Helper()
	s.p = trace.NoProc
	if from == trace.ProcRunning {
		s.p = p
	}
	add(s, ms, trace.EventStateTransition, trace.MakeProcStateTransition(p, from, to), "")
}

// goes is a transition of a goroutine on a P. at is where it stops.
func (s *script) goes(ms float64, p trace.ProcID, g trace.GoID, from, to trace.GoState, reason, at string) {
	s.t.Helper()
	s.g, s.p = trace.NoGoroutine, p
	if from == trace.GoRunning || from == trace.GoSyscall {
		s.g = g
	}
	tr := trace.MakeGoStateTransition(g, from, to)
	tr.Reason, tr.Stack = reason, stackOf(at)
	if from == trace.GoNotExist {
		tr.Stack = trace.MakeStack([]trace.StackFrame{{PC: 9, Func: at}})
		at = ""
	}
	add(s, ms, trace.EventStateTransition, tr, at)
}

// starts creates a goroutine and runs it.
func (s *script) starts(ms float64, p trace.ProcID, g trace.GoID, fn string) {
	s.t.Helper()
	s.goes(ms, p, g, trace.GoNotExist, trace.GoRunnable, "", fn)
	s.goes(ms, p, g, trace.GoRunnable, trace.GoRunning, "", "")
}

func (s *script) ranged(ms float64, g trace.GoID, p trace.ProcID, kind trace.EventKind, name string, of trace.ResourceID, at string) {
	s.t.Helper()
	s.g, s.p = g, p
	add(s, ms, kind, trace.Range{Name: name, Scope: of}, at)
}

func (s *script) worker(ms float64, p trace.ProcID, g trace.GoID, label string) {
	s.t.Helper()
	s.starts(ms, p, g, "runtime.gcBgMarkWorker")
	s.g, s.p = g, p
	add(s, ms, trace.EventLabel, trace.Label{Label: label, Resource: trace.MakeResourceID(g)}, "")
}

func (s *script) report() *Report {
	s.t.Helper()
	r := s.c.report()
	Judge(r)
	consistent(s.t, r)
	return r
}

func (s *script) is(what string, got, ms float64) {
	s.t.Helper()
	if math.Abs(got*1e3-ms) > 1e-3 {
		s.t.Errorf("%s: %v ms, want %v", what, got*1e3, ms)
	}
}

const mutator = "main.serve"

func TestAssistIsSplit(t *testing.T) {
	s := newScript(t, 2)
	of := trace.MakeResourceID(trace.GoID(1))
	s.starts(0, 0, 1, mutator)
	s.ranged(10, 1, 0, trace.EventRangeBegin, rangeMark, trace.ResourceID{}, "main.start")
	s.ranged(20, 1, 0, trace.EventRangeBegin, rangeAssist, of, "main.alloc")
	s.goes(25, 0, 1, trace.GoRunning, trace.GoWaiting, "GC mark assist wait for work", "main.alloc")
	s.goes(32, 1, 1, trace.GoWaiting, trace.GoRunnable, "", "")
	s.goes(33, 0, 1, trace.GoRunnable, trace.GoRunning, "", "")
	s.ranged(34, 1, 0, trace.EventRangeEnd, rangeAssist, of, "")
	s.ranged(50, 1, 0, trace.EventRangeEnd, rangeMark, trace.ResourceID{}, "")
	r := s.report()
	c := r.Impact.Cost
	s.is("assist, running", c.Assist, 5+1)
	s.is("assist, blocked and waiting for a P", c.Blocked, 7+1)
	s.is("wall of the assist", r.Assist.Spread.Max, 14)
	s.is("marking", r.Cycles.Mark.Max, 40)
	s.is("assist in the cycle", r.Cycles.Longest[0].Assist, 6)
	if k := r.Kinds[0]; k.Func != mutator || len(k.AssistedAt) != 1 || k.AssistedAt[0].Stack[0].Func != "main.alloc" {
		t.Errorf("kind %+v", k)
	}
	if len(r.Findings) == 0 || r.Findings[0].ID != idAssist {
		t.Errorf("findings %+v", r.Findings)
	}
}

func TestStopHasACulprit(t *testing.T) {
	s := newScript(t, 3)
	s.starts(0, 0, 1, mutator)
	s.starts(0, 1, 2, "main.fast")
	s.starts(0, 2, 3, "main.loop")
	of := trace.MakeResourceID(trace.GoID(1))
	const name = "stop-the-world (" + stopSweepTerm + ")"
	s.ranged(10, 1, 0, trace.EventRangeBegin, name, of, "main.alloc")
	s.goes(10.5, 1, 2, trace.GoRunning, trace.GoRunnable, "preempted", "main.step")
	s.proc(10.5, 1, trace.ProcRunning, trace.ProcIdle)
	s.goes(22, 2, 3, trace.GoRunning, trace.GoRunnable, "preempted", "main.spin")
	s.proc(22.5, 2, trace.ProcRunning, trace.ProcIdle)
	s.ranged(23, 1, 0, trace.EventRangeEnd, name, of, "")
	for p := trace.ProcID(1); p < 3; p++ {
		s.proc(23, p, trace.ProcIdle, trace.ProcRunning)
		s.goes(23, p, trace.GoID(p+1), trace.GoRunnable, trace.GoRunning, "", "")
	}
	s.ranged(24, 1, 0, trace.EventRangeBegin, rangeMark, trace.ResourceID{}, "main.start")
	s.ranged(25, 1, 0, trace.EventRangeEnd, rangeMark, trace.ResourceID{}, "")
	r := s.report()
	st := r.WorstStops[0]
	s.is("whole", st.Seconds, 13)
	s.is("stopping", st.Stopping, 12.5)
	if st.Culprit == nil || st.Culprit.Kind != "main.loop" || st.Culprit.Goroutine != 3 || st.Culprit.Stack[0].Func != "main.spin" {
		t.Fatalf("culprit %+v", st.Culprit)
	}
	s.is("alone", st.Culprit.Alone, 12)
	// The stopper for 13 ms, the fast one for 12.5 and the slow one for 1.
	s.is("stood still", r.Impact.Cost.Stopped, 13+12.5+1)
	if len(r.Findings) == 0 || r.Findings[0].ID != idStopping || r.Findings[0].Sites[0].Func != "main.spin" {
		t.Errorf("findings %+v", r.Findings)
	}
}

func TestWorkersTakePs(t *testing.T) {
	s := newScript(t, 2)
	s.starts(0, 1, 1, mutator)
	s.ranged(0, 1, 1, trace.EventRangeBegin, rangeMark, trace.ResourceID{}, "main.start")
	s.worker(10, 0, 7, "GC (dedicated)")
	// Two wait while one worker runs: each is charged half.
	s.goes(20, 1, 2, trace.GoNotExist, trace.GoRunnable, "", "main.a")
	s.goes(20, 1, 3, trace.GoNotExist, trace.GoRunnable, "", "main.b")
	s.goes(40, 0, 7, trace.GoRunning, trace.GoWaiting, "system goroutine wait", "x")
	s.goes(45, 0, 2, trace.GoRunnable, trace.GoRunning, "", "")
	s.ranged(50, 1, 1, trace.EventRangeEnd, rangeMark, trace.ResourceID{}, "")
	r := s.report()
	s.is("taken", r.Steal.Taken, 20)
	s.is("delayed", r.Impact.Cost.Delayed, 20)
	s.is("dedicated", r.Processors.Dedicated, 30)
	s.is("longest wait", r.Delay.Marking.Max, 25)
	for _, k := range r.Kinds {
		if k.Func == "main.a" || k.Func == "main.b" {
			s.is(k.Func, k.Cost.Delayed, 10)
		}
	}
	if r.Delay.Other.N != 1 || r.Delay.Marking.N != 1 {
		t.Errorf("delays %+v", r.Delay)
	}
}

func TestTasksAreCharged(t *testing.T) {
	s := newScript(t, 2)
	s.starts(0, 0, 1, mutator)
	s.starts(0, 1, 2, "main.helper")
	task := trace.Task{ID: 5, Parent: trace.BackgroundTask, Type: "request"}
	s.g, s.p = 1, 0
	add(s, 1, trace.EventTaskBegin, task, "main.alloc")
	s.g, s.p = 2, 1
	add(s, 2, trace.EventRegionBegin, trace.Region{Task: 5, Type: "part"}, "main.alloc")
	// 3 ms of the helper's 5 are in the region; the other's 2 are the task's too.
	s.ranged(4, 2, 1, trace.EventRangeBegin, rangeAssist, trace.MakeResourceID(trace.GoID(2)), "main.alloc")
	s.g, s.p = 2, 1
	add(s, 7, trace.EventRegionEnd, trace.Region{Task: 5, Type: "part"}, "main.alloc")
	s.ranged(9, 2, 1, trace.EventRangeEnd, rangeAssist, trace.MakeResourceID(trace.GoID(2)), "")
	s.ranged(9, 1, 0, trace.EventRangeBegin, rangeAssist, trace.MakeResourceID(trace.GoID(1)), "main.alloc")
	s.g, s.p = 1, 0
	add(s, 11, trace.EventTaskEnd, task, "main.alloc")
	s.ranged(20, 1, 0, trace.EventRangeEnd, rangeAssist, trace.MakeResourceID(trace.GoID(1)), "")
	r := s.report()
	if len(r.Tasks) != 1 || r.Tasks[0].N != 1 || r.Tasks[0].Open != 0 {
		t.Fatalf("tasks %+v", r.Tasks)
	}
	s.is("wall", r.Tasks[0].Wall.Max, 10)
	s.is("assist of the task", r.Tasks[0].Cost.Assist, 3+2)
	s.is("assist of all", r.Impact.Cost.Assist, 5+11)
	if got := r.Tasks[0].ShareWorst; math.Abs(got-0.5) > 0.001 {
		t.Errorf("share %v", got)
	}
}

func TestSweepBeforeAllocation(t *testing.T) {
	s := newScript(t, 1)
	s.starts(0, 0, 1, mutator)
	s.ranged(1, 1, 0, trace.EventRangeBegin, rangeSweep, trace.MakeResourceID(trace.ProcID(0)), "main.alloc")
	s.ranged(4, 1, 0, trace.EventRangeEnd, rangeSweep, trace.MakeResourceID(trace.ProcID(0)), "")
	s.goes(10, 0, 1, trace.GoRunning, trace.GoWaiting, "chan receive", "main.alloc")
	r := s.report()
	s.is("sweep", r.Impact.Cost.Sweep, 3)
	s.is("sweep on Ps", r.Processors.Sweep, 3)
}

// A trace in which collections cost nothing to speak of says so, and one without
// any says that it cannot tell.
func TestNotGC(t *testing.T) {
	s := newScript(t, 2)
	s.starts(0, 0, 1, mutator)
	s.goes(500, 0, 1, trace.GoRunning, trace.GoWaiting, "chan receive", "main.alloc")
	r := s.report()
	if !r.Inconclusive() || len(r.Findings) != 0 {
		t.Errorf("%q, %+v", r.Verdict, r.Findings)
	}
	s = newScript(t, 2)
	s.starts(0, 0, 1, mutator)
	for i := range 5 {
		at := float64(100 * (i + 1))
		s.ranged(at, 1, 0, trace.EventRangeBegin, rangeMark, trace.ResourceID{}, "main.start")
		s.ranged(at+1, 1, 0, trace.EventRangeEnd, rangeMark, trace.ResourceID{}, "")
	}
	s.goes(1000, 0, 1, trace.GoRunning, trace.GoWaiting, "chan receive", "main.alloc")
	r = s.report()
	if r.Inconclusive() || len(r.Findings) != 1 || r.Findings[0].ID != idNot {
		t.Errorf("%q, %+v", r.Verdict, r.Findings)
	}
}

func TestSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s spread
	var all []int64
	for range 10000 {
		v := int64(math.Exp(rng.Float64() * 25))
		all = append(all, v)
		s.add(v)
	}
	for _, v := range append(all[:200], 0, 1, 7, 8, 9, 15, 16, math.MaxInt64) {
		if i := bucketOf(v); i < 0 || i >= 512 {
			t.Fatalf("%d is in bucket %d", v, i)
		} else if m := middle(i); v > 0 && math.Abs(m-float64(v)) > 0.07*float64(v) {
			t.Errorf("%d is taken for %v", v, m)
		}
	}
	if r := s.report(); r.N != 10000 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max {
		t.Errorf("%+v", r)
	}
	if (new(spread)).report() != (Spread{}) {
		t.Error("an empty one is not empty")
	}
}

func TestTimelineKeepsSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var l timeline
	var at int64
	var want float64
	for range 2000 {
		dt := int64(1 + rng.IntN(int(20*time.Millisecond)))
		l.add(at, dt, Step{Assist: float64(dt)})
		want += float64(dt)
		at += dt
	}
	var got float64
	for _, s := range l.steps {
		got += s.Assist
	}
	if math.Abs(got-want) > 1e-6*want || len(l.steps) > maxSteps || int64(len(l.steps)) < at/l.width {
		t.Errorf("%v in %d steps of %d, want %v", got, len(l.steps), l.width, want)
	}
}

func TestKeep(t *testing.T) {
	var got []int
	for _, v := range []int{3, 9, 1, 7, 7, 2, 8} {
		got = keep(got, 3, v, func(v *int) float64 { return float64(*v) })
	}
	if len(got) != 3 || got[0] != 9 || got[1] != 8 || got[2] != 7 {
		t.Errorf("%v", got)
	}
}

func TestPages(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Pages() {
		if seen[p.ID] || seen[p.Name] || p.What == "" || p.Why == "" || p.How == "" || p.Remedy == "" || p.FalseAlarms == "" || p.Since == "" || len(p.Severities) == 0 {
			t.Errorf("page %+v", p)
		}
		seen[p.ID], seen[p.Name] = true, true
	}
	for _, id := range []string{idTasks, idAssist, idStopping, idSteal, idSweep, idAlways, idForced, idNot} {
		if !seen[id] {
			t.Errorf("%s has no page", id)
		}
	}
}
