package leak

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/retention"
	"github.com/heapwright/heapwright/record"
)

func fr(names ...string) []record.Frame {
	var out []record.Frame
	for i, n := range names {
		out = append(out, record.Frame{Func: n, File: "/src/x.go", Line: 10 + i})
	}
	return out
}

// A grower is a site whose samples in use are a function of the snapshot.
type grower struct {
	stack []record.Frame
	inUse func(i int) int
}

// ups is an observation of n snapshots, ten seconds apart.
func ups(n int, sites []grower, groups func(i int) []record.GoroutineGroup) Observation {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rec := &record.Recording{Process: record.Process{PID: 1, StartTime: start.Add(-time.Hour)}}
	o := Observation{Process: rec.Process, Recording: rec}
	for i := range n {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		p := &record.Profile{Time: at, Kind: record.ProfileHeap, PeriodBytes: simPeriod}
		marked := 20e6
		for _, s := range sites {
			k := s.inUse(i)
			marked += float64(k) * simPeriod
			p.Sites = append(p.Sites, record.ProfileSite{Stack: s.stack, InUseBytes: float64(k) * simPeriod, InUseObjects: float64(k) * 100,
				AllocBytes: float64(k+i) * simPeriod, AllocObjects: float64(k+i) * 100, SampledInUse: int64(k), SampledAllocs: int64(max(1, k))})
		}
		o.Heap = append(o.Heap, p)
		rec.Cycles = append(rec.Cycles, record.Cycle{N: uint64(100 + i), End: at.Add(-time.Second), Detail: true, HeapMarkedBytes: uint64(marked)})
		if groups != nil {
			o.Goroutines = append(o.Goroutines, &record.Goroutines{Time: at, Groups: groups(i)})
		}
	}
	return o
}

func rising(i int) int { return 3 * i }

func constant(n int) func(int) int { return func(int) int { return n } }

func waiting(reason string, created string, stack ...string) func(i int) []record.GoroutineGroup {
	return func(i int) []record.GoroutineGroup {
		return []record.GoroutineGroup{{Count: 3 + 4*i, Status: "waiting", WaitReason: reason, CreatedBy: fr(created)[0], Stack: fr(stack...)}}
	}
}

// TestCauses says of typical stacks, and of what holds the objects, what the cause is.
func TestCauses(t *testing.T) {
	user := []string{"main.f", "main.serve", "main.main"}
	stack := func(leaf ...string) []record.Frame { return fr(append(leaf, user...)...) }
	for _, c := range []struct {
		name   string
		leaf   []string
		beside []string // a site that grows little, in the same function
		path   []retention.Step
		root   retention.Root
		hint   string
		want   CauseID
	}{
		{name: "map", leaf: []string{"runtime.mallocgc", "runtime.mapassign_faststr"}, want: MapUnbounded},
		{name: "swiss map", leaf: []string{"runtime.mallocgc", "internal/runtime/maps.newGroups", "internal/runtime/maps.(*table).grow", "runtime.mapassign"}, want: MapUnbounded},
		{name: "append", leaf: []string{"runtime.mallocgc", "runtime.growslice"}, want: SliceUnbounded},
		{name: "objects beside a map", beside: []string{"runtime.mapassign_fast64"}, want: MapUnbounded},
		{name: "objects beside an append", beside: []string{"runtime.growslice"}, want: SliceUnbounded},
		{name: "sync.Map", leaf: []string{"internal/sync.newEntryNode", "sync.(*Map).Store"}, want: SyncMapUnbounded},
		{name: "list", leaf: []string{"container/list.(*List).insertValue", "container/list.(*List).PushFront"}, want: ListUnbounded},
		{name: "time.After", leaf: []string{"runtime.mallocgc", "time.NewTimer", "time.After"}, want: TimeAfterLoop},
		{name: "time.AfterFunc", leaf: []string{"time.newTimer", "time.AfterFunc"}, want: TimerForgotten},
		{name: "ticker", leaf: []string{"runtime.makechan", "time.NewTicker"}, want: TickerForgotten},
		{name: "timer of a context", leaf: []string{"time.newTimer", "time.AfterFunc", "context.WithDeadlineCause", "context.WithTimeout"}, want: ContextNotDone},
		{name: "context", leaf: []string{"context.withCancel", "context.WithCancel"}, want: ContextNotDone},
		{name: "values", leaf: []string{"context.WithValue"}, want: ContextValues},
		{name: "defer", leaf: []string{"runtime.mallocgc", "runtime.newdefer", "runtime.deferproc"}, want: DeferInLoop},
		{name: "finalizer", leaf: []string{"runtime.SetFinalizer"}, want: FinalizerChain},
		{name: "buffer", leaf: []string{"bytes.growSlice", "bytes.(*Buffer).grow", "bytes.(*Buffer).Write"}, want: BufferNeverSmall},
		{name: "nothing", want: UnknownCause},
		{name: "held by a map", path: []retention.Step{{Type: "map[string]*main.T", Objects: 1}, {Type: "map.group[string]*main.T", Objects: 60}, {Type: "main.T", Objects: 9000}}, want: MapUnbounded},
		{name: "held by a list", path: []retention.Step{{Type: "list.List", Objects: 1}, {Type: "list.Element", Objects: 9000, Recursive: true}, {Type: "main.T", Objects: 9000}}, want: ListUnbounded},
		{name: "held by timers", path: []retention.Step{{Type: "runtime.p", Objects: 2}, {Type: "[]runtime.timerWhen", Objects: 2}, {Type: "main.T", Objects: 9000}}, want: TimerForgotten},
		{name: "time.After, held by timers", leaf: []string{"runtime.makechan", "time.NewTimer", "time.After"}, hint: "timer-forgotten",
			path: []retention.Step{{Type: "[]runtime.timerWhen", Objects: 2}, {Type: "chan time.Time", Objects: 9000}}, want: TimeAfterLoop},
		{name: "children of a context", path: []retention.Step{{Type: "context.cancelCtx", Objects: 9000}, {Type: "context.valueCtx", Objects: 9000}}, want: ContextNotDone},
		{name: "a chain of contexts", path: []retention.Step{{Type: "context.valueCtx", Objects: 9000, Recursive: true}}, want: ContextValues},
		{name: "part of an array", path: []retention.Step{{Type: "[][]uint8", Objects: 1}, {Type: "[]uint8", Objects: 900}}, hint: "sub-slice", want: SubSlice},
		{name: "part of an array in a map that grows", beside: []string{"runtime.mapassign"}, hint: "sub-slice",
			path: []retention.Step{{Type: "map[string][]uint8", Objects: 1}, {Type: "[]uint8", Objects: 9000}}, want: MapUnbounded},
		{name: "a map without entries", leaf: []string{"runtime.mapassign"}, hint: "map-never-shrinks", want: MapNeverShrinks},
		{name: "calls that a goroutine has deferred", path: []retention.Step{{Type: "[]*runtime.g", Objects: 1}, {Type: "runtime.g", Objects: 5}, {Type: "object of 48 bytes", Objects: 9000}, {Type: "func main.f.deferwrap1", Objects: 9000}},
			hint: "closure-capture", want: DeferInLoop},
		{name: "appended to, entry by entry of a sync.Map", leaf: []string{"runtime.mallocgc", "runtime.growslice"},
			path: []retention.Step{{Type: "sync.indirect[go.shape.interface {},go.shape.interface {}]", Objects: 8}, {Type: "object of 160 bytes", Objects: 5896}, {Type: "[]uint8", Objects: 9000}}, want: SyncMapUnbounded},
		{name: "closures in an array", path: []retention.Step{{Type: "[]func()", Objects: 1}, {Type: "func main.f.1", Objects: 900}}, hint: "closure-capture", want: ClosureCapture},
	} {
		t.Run(c.name, func(t *testing.T) {
			growing := grower{stack(c.leaf...), rising}
			list := []grower{growing, {fr("main.other"), constant(30)}}
			if c.beside != nil {
				list = append(list, grower{fr(append(c.beside, "main.g", "main.serve", "main.main")...), func(i int) int { return i / 12 }})
			}
			o := ups(40, list, nil)
			if c.path != nil || c.hint != "" {
				root := retention.Root{Kind: "global", Name: "main.x", Count: 1}
				o.Retention = &retention.Report{LiveBytes: 90e6, Sites: []retention.SiteHolders{{Stack: growing.stack, Samples: 100, Holders: []retention.SiteHolder{{Holder: -1, Root: root, Path: c.path, Samples: 100, Share: 1}}}}}
				if c.hint != "" {
					o.Retention.Hints = []retention.Hint{{Kind: c.hint, Bytes: 60e6, Root: root, Text: "so it is"}}
				}
			}
			v := Judge(o, Options{})
			if v.Verdict != Leak || len(v.Findings) != 1 || v.Findings[0].Site.Func != "main.f" {
				t.Fatalf("%s %s %+v %+v", v.Verdict, v.Reason, v.Findings, v.NotLeaks)
			}
			if got := v.Findings[0]; got.Cause != c.want || c.want != UnknownCause && len(got.Signs) == 0 || got.Remedy == "" {
				t.Errorf("cause %s by %q, want %s", got.Cause, got.Signs, c.want)
			}
		})
	}
}

func TestGoroutineCauses(t *testing.T) {
	for _, c := range []struct {
		name   string
		groups func(int) []record.GoroutineGroup
		sites  []grower
		want   CauseID
		site   string
		load   bool
	}{
		{name: "send", groups: waiting("chan send", "main.ask", "runtime.chansend1", "main.query"), want: GoroutineSend, site: "main.ask"},
		{name: "receive", groups: waiting("chan receive", "main.start", "runtime.chanrecv1", "main.work"), want: GoroutineReceive, site: "main.start"},
		{name: "select", groups: waiting("select", "main.start", "runtime.selectgo", "main.work"), want: GoroutineSelect, site: "main.start"},
		{name: "lock", groups: waiting("sync.Mutex.Lock", "main.start", "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "main.work"), want: GoroutineLock, site: "main.start"},
		{name: "group", groups: waiting("sync.WaitGroup.Wait", "main.start", "sync.(*WaitGroup).Wait", "main.work"), want: GoroutineLock, site: "main.start"},
		{name: "sleep", groups: waiting("sleep", "main.start", "time.Sleep", "main.work"), want: GoroutineSleep, site: "main.start"},
		{name: "ticker", groups: waiting("chan receive", "main.start", "runtime.chanrecv1", "main.beat"),
			sites: []grower{{fr("runtime.makechan", "time.NewTicker", "main.beat"), func(i int) int { return i / 10 }}}, want: TickerForgotten, site: "main.start"},
		{name: "context", groups: waiting("select", "context.(*cancelCtx).propagateCancel", "context.(*cancelCtx).propagateCancel.func2"), want: ContextNotDone, site: "context.(*cancelCtx).propagateCancel"},
		{name: "body", groups: waiting("select", "net/http.(*Transport).dialConn", "runtime.selectgo", "net/http.(*persistConn).readLoop"),
			sites: []grower{{fr("net/http.(*Client).do", "net/http.Get", "main.check"), constant(3)}}, want: BodyNotClosed, site: "main.check"},
		{name: "time-out", groups: waiting("select", "main.main", "runtime.selectgo", "net/http.(*persistConn).roundTrip", "net/http.(*Transport).roundTrip", "main.report"), want: NoClientTimeout, site: "main.main"},
		{name: "read", groups: waiting("IO wait", "main.main", "internal/poll.runtime_pollWait", "net.(*conn).Read", "net/http.(*persistConn).Read"), want: NoClientTimeout, site: "main.main"},
		{name: "clients that connect", groups: waiting("IO wait", "net/http.(*Server).Serve", "internal/poll.runtime_pollWait", "net/http.(*conn).serve"), load: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := ups(40, append([]grower{{fr("main.other"), constant(30)}}, c.sites...), c.groups)
			v := Judge(o, Options{})
			if c.load {
				if v.Verdict != NoLeak || len(v.NotLeaks) == 0 || v.NotLeaks[0].Kind != Load {
					t.Errorf("%s %+v %+v", v.Verdict, v.Findings, v.NotLeaks)
				}
				return
			}
			if v.Verdict != Leak || len(v.Findings) != 1 {
				t.Fatalf("%s %+v %+v", v.Verdict, v.Findings, v.NotLeaks)
			}
			if f := v.Findings[0]; f.Kind != Goroutine || f.Cause != c.want || f.Site.Func != c.site {
				t.Errorf("%s at %s by %q, want %s at %s", f.Cause, f.Site.Func, f.Signs, c.want, c.site)
			}
		})
	}
}

// What goroutines that never end have allocated is theirs, and theirs is the cause.
func TestGoroutinesHoldMemory(t *testing.T) {
	o := ups(40, []grower{{fr("main.query", "main.ask.func1"), rising}}, waiting("chan send", "main.ask", "runtime.chansend1", "main.query", "main.ask.func1"))
	v := Judge(o, Options{})
	if len(v.Findings) != 2 {
		t.Fatalf("%+v", v.Findings)
	}
	for _, f := range v.Findings {
		if f.Cause != GoroutineSend {
			t.Errorf("%s: %s by %q", f.Kind, f.Cause, f.Signs)
		}
	}
}

// The target's own profile proves what the trend may not show.
func TestProven(t *testing.T) {
	still := func(int) []record.GoroutineGroup {
		return []record.GoroutineGroup{{Count: 50, Status: "waiting", WaitReason: "chan send", CreatedBy: fr("main.ask")[0], Stack: fr("runtime.chansend1", "main.query")}}
	}
	o := ups(40, []grower{{fr("main.other"), constant(30)}}, still)
	if v := Judge(o, Options{}); v.Verdict != NoLeak {
		t.Errorf("goroutines that stay as they are: %s", v.Verdict)
	}
	o.GoroutineLeaks = &record.Goroutines{Total: 50, Groups: []record.GoroutineGroup{{Count: 50, Stack: fr("runtime.chansend1", "main.query")}}}
	v := Judge(o, Options{})
	if v.Verdict != Leak || len(v.Findings) != 1 || v.Findings[0].Cause != GoroutineSend || v.Findings[0].Site.Func != "main.ask" || v.Findings[0].Confidence != "high" {
		t.Errorf("proven: %s %+v", v.Verdict, v.Findings)
	}
}

// The room of a slice grows by few large steps; what is in it by many small ones.
func TestRefill(t *testing.T) {
	room := func(length func(x float64) float64) Observation {
		o := ups(60, []grower{{fr("main.other"), constant(30)}}, nil)
		capacity := 4e6
		for i, p := range o.Heap {
			for n := length(float64(i) / 59); n > capacity; {
				capacity *= 1.25
			}
			p.Sites = append(p.Sites, record.ProfileSite{Stack: fr("runtime.growslice", "main.log"), InUseBytes: capacity, InUseObjects: 1, SampledInUse: 1, AllocBytes: capacity, AllocObjects: 9, SampledAllocs: 9})
			o.Recording.Cycles[i].HeapMarkedBytes += uint64(capacity)
		}
		return o
	}
	if v := Judge(room(func(x float64) float64 { return 4e6 + 40e6*x }), Options{}); v.Verdict != Leak || v.Findings[0].Cause != SliceUnbounded || v.Findings[0].Site.Func != "main.log" {
		t.Errorf("a slice that is appended to: %s %s %+v", v.Verdict, v.Reason, v.Findings)
	}
	if v := Judge(room(func(x float64) float64 { return 4e6 + 40e6*min(x, 0.4) }), Options{}); v.Verdict == Leak {
		t.Errorf("a slice that is full: %s %+v", v.Reason, v.Findings)
	}
}

func TestInconclusive(t *testing.T) {
	for name, o := range map[string]Observation{
		"nothing":    {},
		"nils":       {Heap: []*record.Profile{nil}, Goroutines: []*record.Goroutines{nil}},
		"one":        ups(1, []grower{{fr("main.f"), rising}}, nil),
		"few cycles": ups(5, []grower{{fr("main.f"), rising}}, nil),
	} {
		v := Judge(o, Options{})
		if v.Verdict != Inconclusive || len(v.Needed) == 0 {
			t.Errorf("%s: %s, needs %q", name, v.Verdict, v.Needed)
		}
		if suspected := strings.Contains(strings.Join(v.Notes, " "), "main.f"); suspected != (name == "few cycles") || len(v.Findings) > 0 {
			t.Errorf("%s: notes %q, findings %v", name, v.Notes, v.Findings)
		}
	}
}

// Two profiles of one publication are one snapshot, and a profile is of the cycle
// before the last.
func TestSnapshotTimes(t *testing.T) {
	o := ups(12, []grower{{fr("main.f"), rising}}, nil)
	var doubled []*record.Profile
	for _, p := range o.Heap {
		again := *p
		again.Time = again.Time.Add(3 * time.Second)
		doubled = append(doubled, p, &again)
	}
	kept, at := snapshotTimes(doubled, o.Recording.Cycles)
	if len(kept) != 12 {
		t.Errorf("%d of 12 kept", len(kept))
	}
	if want := o.Recording.Cycles[4].End; !at[5].Equal(want) {
		t.Errorf("the sixth profile is of %v, want that of the cycle before the last, %v", at[5], want)
	}
	if kept, _ := snapshotTimes(doubled, nil); len(kept) != 12 {
		t.Errorf("without cycles %d of 12 kept", len(kept))
	}
}

func TestStats(t *testing.T) {
	for _, c := range []struct {
		n, x int64
		want float64
	}{{0, 0, 1}, {10, 0, 1}, {10, 10, 1.0 / 1024}, {10, 9, 11.0 / 1024}, {3, 2, 0.5}, {10, 11, 0}} {
		if got := binomialUpper(c.n, c.x); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("binomial %d of %d: %v, want %v", c.x, c.n, got, c.want)
		}
	}
	if exact, normal := binomialUpper(4000, 2060), normalUpper((2059.5-2000)/math.Sqrt(1000)); math.Abs(exact-normal) > 1e-3 {
		t.Errorf("exact %v, normal %v", exact, normal)
	}
	// Holm's own example in its form for m tests: 0.01, 0.04, 0.03, 0.005.
	if got := holm([]float64{0.01, 0.04, 0.03, 0.005}, 4); got[3] != 0.02 || got[0] != 0.03 || got[2] != 0.06 || got[1] != 0.06 {
		t.Errorf("holm %v", got)
	}
	// When nothing grows, the chance is what it says: p-values are not too small.
	rng := rand.New(rand.NewPCG(5, 6))
	small := 0
	const runs = 4000
	for range runs {
		a, b := int64(poisson(rng, 20)), int64(poisson(rng, 20))
		if binomialUpper(a+b, b) <= 0.05 {
			small++
		}
	}
	if small > runs/20+60 { // four standard deviations
		t.Errorf("p <= 0.05 in %d of %d", small, runs)
	}
}

// Hostile numbers and shapes make no panic and no value that JSON cannot hold.
func FuzzJudge(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 255, 0, 7}, 1e300)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, math.Inf(1))
	f.Fuzz(func(t *testing.T, b []byte, scale float64) {
		if len(b) > 200 {
			t.Skip("long enough")
		}
		n := 0
		next := func() int {
			if n == len(b) {
				n = 0
			}
			if len(b) == 0 {
				return 0
			}
			n++
			return int(int8(b[n-1]))
		}
		o := ups(20, []grower{{fr("runtime.growslice", "main.f"), func(int) int { return next() }}, {nil, func(int) int { return next() * 1 << 20 }}}, waiting("select", "main.f", "main.g"))
		for _, p := range o.Heap {
			for i := range p.Sites {
				p.Sites[i].InUseBytes *= scale
				p.Sites[i].InUseObjects /= scale
				p.Sites[i].SampledAllocs = int64(next()) << (next() & 63)
			}
			p.PeriodBytes = int64(next())
			p.Time = p.Time.Add(time.Duration(next()) * time.Hour)
		}
		v := Judge(o, Options{})
		for _, x := range v.Findings {
			for _, y := range []float64{x.Growth.PerHour, x.Growth.Low, x.Growth.High, x.Growth.Start, x.Growth.End, x.PValue, x.LastsSeconds} {
				if math.IsNaN(y) || math.IsInf(y, 0) {
					t.Fatalf("not finite: %+v", x)
				}
			}
		}
	})
}

func TestCatalogue(t *testing.T) {
	seen := map[CauseID]bool{}
	for _, c := range Causes() {
		if seen[c.ID] || c.Title == "" || c.What == "" || c.Remedy == "" {
			t.Errorf("%s is there twice, or lacks something", c.ID)
		}
		seen[c.ID] = true
		for line := range strings.Lines(c.Text()) {
			if len([]rune(line)) > 81 && !strings.Contains(c.Before+c.After, strings.TrimSpace(line)) {
				t.Errorf("%s: %d columns: %s", c.ID, len(line), line)
			}
		}
	}
	for _, m := range allocationMarks {
		if !seen[m.cause] {
			t.Errorf("%s is in no catalogue", m.cause)
		}
	}
	if len(seen) != 32 {
		t.Errorf("%d causes, want 32", len(seen))
	}
	if id, ok := Suggest("body-not-close"); !ok || id != BodyNotClosed {
		t.Errorf("suggests %s", id)
	}
	if _, ok := Suggest("HW1001"); ok {
		t.Error("suggests a cause for a rule")
	}
	got, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "LEAKS.md"))
	if err != nil || string(got) != Manual() {
		t.Errorf("docs/LEAKS.md is stale (%v): go generate ./internal/leak", err)
	}
}
