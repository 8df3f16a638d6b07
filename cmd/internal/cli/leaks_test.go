package cli

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/leak"
	"github.com/heapwright/heapwright/cmd/internal/retention"
	"github.com/heapwright/heapwright/record"
)

// watchedLong is a recording of ten minutes with a heap profile and a snapshot of
// goroutines every ten seconds: in use at one site are so many samples of 512 KiB,
// and so many goroutines wait to send, as the functions say for each tenth of a
// minute.
func watchedLong(name string, samples, waiting func(i int) int) *record.Recording {
	const n = 60
	live := func(t float64) float64 { return float64(20+samples(int(t/10))/2) * mib }
	rec := recordingOf(proc(4711, name), ruletest.Server{Seconds: 10 * n, Hz: 1, Age: 7200, Live: live, Alloc: ruletest.Const(30 * mib), Container: 512 * mib})
	start := rec.Samples[0].Time
	open := []record.Frame{ruletest.F("runtime.mapassign_fast64", "runtime/map_fast64.go", 5), ruletest.F("main.openSession", "/src/app/session.go", 41), ruletest.F("main.serve", "/src/app/main.go", 17)}
	other := []record.Frame{ruletest.F("main.answer", "/src/app/main.go", 60), ruletest.F("main.serve", "/src/app/main.go", 18)}
	for i := range n {
		at := start.Add(time.Duration(10*i) * time.Second)
		site := func(stack []record.Frame, inUse, allocs int) record.ProfileSite {
			return record.ProfileSite{
				Stack: stack, SampledInUse: int64(inUse), SampledAllocs: int64(allocs), InUseBytes: float64(inUse) * (512 << 10), InUseObjects: float64(inUse) * 256,
				AllocBytes: float64(allocs) * (512 << 10), AllocObjects: float64(allocs) * 256,
			}
		}
		s := samples(i)
		rec.Profiles = append(rec.Profiles, record.Profile{Time: at, Kind: record.ProfileHeap, PeriodBytes: 512 << 10, Sites: []record.ProfileSite{
			site(open, s, max(s, 80)), site(other, 20+i%3, 100+40*i),
		}})
		rec.Goroutines = append(rec.Goroutines, record.Goroutines{Time: at, Total: 10 + waiting(i), Groups: []record.GoroutineGroup{
			{Count: 10, Status: "waiting", WaitReason: "IO wait", CreatedBy: ruletest.F("net/http.(*Server).Serve", "net/http/server.go", 3),
				Stack: []record.Frame{ruletest.F("internal/poll.runtime_pollWait", "runtime/netpoll.go", 1), ruletest.F("net/http.(*conn).serve", "net/http/server.go", 9)}},
			{Count: max(1, waiting(i)), Status: "waiting", WaitReason: "chan send", CreatedBy: ruletest.F("main.search", "/src/app/search.go", 24),
				Stack: []record.Frame{ruletest.F("runtime.chansend1", "runtime/chan.go", 1), ruletest.F("main.askBackend", "/src/app/search.go", 37)}},
		}})
	}
	return rec
}

func none(int) int { return 0 }

func TestLeaksText(t *testing.T) {
	for _, tc := range []struct {
		name string
		rec  *record.Recording
		want ExitCode
	}{
		{"memory", watchedLong("leaky", func(i int) int { return 4 + 2*i }, none), ExitFinding},
		{"goroutines", watchedLong("stuck", func(int) int { return 60 }, func(i int) int { return 5 + 7*i }), ExitFinding},
		{"none", watchedLong("healthy", func(int) int { return 60 }, none), ExitOK},
		{"cache", watchedLong("cache", func(i int) int { return min(4+4*i, 90) }, none), ExitOK},
		{"short", recordingOf(proc(7, "short"), ruletest.Server{Seconds: 5}), ExitInconclusive},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			f.run(t, tc.want, "leaks", save(t, tc.rec))
			at80(t, f.out.String())
			golden(t, "leaks/"+tc.name+".txt", f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

func TestLeaksUsage(t *testing.T) {
	file := save(t, watchedLong("leaky", func(i int) int { return 2 * i }, none))
	for _, tc := range []struct {
		args []string
		want ExitCode
	}{
		{[]string{"leaks"}, ExitCouldNotRun},
		{[]string{"leaks", "--retention", "some", file}, ExitCouldNotRun},
		{[]string{"leaks", "--fail-on", "often", file}, ExitCouldNotRun},
		{[]string{"leaks", "--for", "0s", file}, ExitCouldNotRun},
		{[]string{"leaks", "--retention", "off", "--pause", file}, ExitCouldNotRun},
		{[]string{"leaks", "--pause", file}, ExitCouldNotRun},
		{[]string{"leaks", "--fail-on", "never", file}, ExitOK},
		{[]string{"leaks", "--fail-on", "critical", file}, ExitOK},
		{[]string{"leaks", file}, ExitFinding},
	} {
		f := newFakeEnv()
		f.run(t, tc.want, tc.args...)
	}
}

func TestLeaksJSON(t *testing.T) {
	f := newFakeEnv()
	f.run(t, ExitFinding, "leaks", "--json", save(t, watchedLong("leaky", func(i int) int { return 4 + 2*i }, none)))
	var doc leaksDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != leak.Schema || doc.Verdict.Verdict != leak.Leak || len(doc.Findings) != 1 || doc.Findings[0].Site.Func != "main.openSession" || doc.Findings[0].Cause != leak.MapUnbounded {
		t.Errorf("document %+v", doc.Verdict)
	}
}

// A process that is watched: a profile after a GC cycle only, equal stacks once.
func TestLeakSource(t *testing.T) {
	rec := watchedLong("leaky", func(i int) int { return 2 * i }, func(i int) int { return 3 })
	s := newLeakSource(newFakeEnv().Env, &fakeTarget{rec: rec}, 10*time.Minute)
	var x record.Sample
	x.Has.Add(record.FieldGCCycles)
	if err := s.Sample(&x); err != nil {
		t.Fatal(err)
	}
	a, err := s.Profile(record.ProfileHeap)
	if err != nil || a == nil {
		t.Fatal(a, err)
	}
	if b, err := s.Profile(record.ProfileHeap); b != nil || err != nil {
		t.Errorf("a second profile of one cycle: %v, %v", b, err)
	}
	if b, err := s.Profile(record.ProfileBlock); b != nil || err != nil {
		t.Errorf("a block profile: %v, %v", b, err)
	}
	one := slices.Clone(a.Sites[0].Stack)
	if got := s.intern(one); &got[0] != &a.Sites[0].Stack[0] {
		t.Error("an equal stack is kept twice")
	}
	if g, err := s.Goroutines(); g == nil || err != nil {
		t.Error(g, err)
	}
}

func TestSnapshotPeriod(t *testing.T) {
	for over, want := range map[time.Duration]time.Duration{
		10 * time.Second: time.Second, 10 * time.Minute: 5 * time.Second, time.Hour: 30 * time.Second, 24 * time.Hour: 6 * time.Minute,
	} {
		if got := snapshotPeriod(over); got != want {
			t.Errorf("snapshots over %v: every %v, want %v", over, got, want)
		}
	}
}

func TestLeakSpark(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   string
	}{
		{nil, "                "},
		{[]float64{5}, "████████████████"},
		{[]float64{0, 0}, "▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁"},
		{[]float64{100, 101}, "████████████████"},
		{[]float64{0, 7, 8}, "▁▁▁▁▁▁██████████"},
	} {
		if got := leakSpark(tc.values); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.values, got, tc.want)
		}
	}
}

// leaksExample is a document with everything that there can be.
func leaksExample() leaksDocument {
	frame := ruletest.F("main.f", "/src/main.go", 3)
	growth := leak.Growth{PerHour: 1, Low: 0.5, High: 2, Start: 3, End: 4, Unit: "bytes", Series: []float64{3, 4}}
	return leaksDocument{
		Verdict: &leak.Verdict{
			Schema: leak.Schema, Verdict: leak.Leak, Reason: "x", LiveHeap: &growth, WindowSeconds: 1.5,
			Findings: []leak.Finding{{
				Kind: leak.Goroutine, Cause: leak.GoroutineSend, Site: frame, Stack: []record.Frame{frame}, WaitReason: "chan send", At: frame, Growth: growth, PValue: 0.001,
				HeldBy:   []leak.HeldBy{{Root: "global main.x", Path: []string{"map[int]int"}, Share: 1, Retained: 7}},
				Evidence: []rule.Evidence{rule.Bytes("in_use_end_bytes", 4, "heap profile")}, Signs: []string{"x"}, LastsSeconds: 7, Stuck: true,
			}},
			NotLeaks: []leak.NotLeak{{Kind: leak.Warmup, What: leak.Heap, Site: frame, Growth: growth, Text: "x"}},
			Hoards:   []leak.Hoard{{Cause: leak.SubSlice, Bytes: 1, Share: 0.5, Root: "global main.x", Path: []string{"[]uint8"}}},
			Needed:   []string{"x"}, Notes: []string{"x"},
		},
		Retention: &retention.Report{},
	}
}
