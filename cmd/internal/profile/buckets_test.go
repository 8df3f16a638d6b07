package profile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

// sampleMap sums a pprof file by stack, labels and value type.
func sampleMap(t *testing.T, p *pprof.Profile, ignore ...string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, s := range p.Sample {
		if !slices.ContainsFunc(s.Value, func(v int64) bool { return v != 0 }) {
			continue
		}
		key := ""
		for _, l := range s.Location {
			key += fmt.Sprintf("%#x", l.Address)
			for _, ln := range l.Line {
				if strings.HasSuffix(ln.Function.Name, ".init") {
					// A package's variables may lie in several files. The runtime writes
					// a function of one name once, with the file it met first.
					ln.Function.Filename = ""
				}
				key += fmt.Sprintf(" %s(%d) %s:%d\n", ln.Function.Name, ln.Function.StartLine, ln.Function.Filename, ln.Line)
			}
		}
		if slices.ContainsFunc(ignore, func(s string) bool { return strings.Contains(key, s) }) {
			continue
		}
		key += fmt.Sprint(s.NumLabel)
		for i, v := range s.Value {
			out[key+" "+p.SampleType[i].Type+"/"+p.SampleType[i].Unit] += int(v)
		}
	}
	return out
}

func parse(t *testing.T, data []byte) *pprof.Profile {
	t.Helper()
	p, err := pprof.ParseData(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, p *profile.Profile) *pprof.Profile {
	t.Helper()
	var b bytes.Buffer
	if err := p.WritePprof(&b, profile.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return parse(t, b.Bytes())
}

// TestHeapAgainstPprof compares every sample with the target's own heap profile.
func TestHeapAgainstPprof(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		for _, args := range [][]string{{"allocate"}, {"GODEBUG=memprofilerate=1", "allocate"}, {"GODEBUG=memprofilerate=4096", "allocate"}} {
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				tg := start(t, version, args...)
				for _, gcs := range []int{1, 1, 3} {
					for range gcs {
						tg.Ask(t, "gc")
					}
					want := parse(t, tg.Ask(t, "profile heap 0"))
					p, err := profile.TakeHeap(tg)
					if err != nil {
						t.Fatal(err)
					}
					if p.Truncated != "" || p.Moving || p.Unpublished {
						t.Errorf("truncated %q, moving %v, unpublished %v", p.Truncated, p.Moving, p.Unpublished)
					}
					got := write(t, p)
					if got.Period != want.Period || got.PeriodType.Type != want.PeriodType.Type {
						t.Errorf("period %d %v, want %d %v", got.Period, got.PeriodType, want.Period, want.PeriodType)
					}
					w := sampleMap(t, want)
					diff(t, "heap", sampleMap(t, got), w)
					if args[0] == "GODEBUG=memprofilerate=1" && len(w) < 100 {
						t.Errorf("only %d samples compared", len(w))
					}
				}
			})
		}
	})
}

// TestHeapUnpublished takes a profile before the first GC.
func TestHeapUnpublished(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		tg := start(t, version, "GODEBUG=memprofilerate=1")
		p, err := profile.TakeHeap(tg)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Unpublished {
			t.Error("a profile has been published before the first GC")
		}
		// The target allocates when it makes its own, which is after ours.
		want := sampleMap(t, parse(t, tg.Ask(t, "profile heap 0")), "runtime/pprof.", "bufio.", "fmt.", "main.main ", "strings.", "main.main(")
		got := sampleMap(t, write(t, p), "runtime/pprof.", "bufio.", "fmt.", "main.main(", "strings.")
		for k := range want {
			if _, ok := got[k]; !ok {
				delete(want, k)
			}
		}
		diff(t, "heap", got, want)
		if len(want) < 20 {
			t.Errorf("only %d samples compared", len(want))
		}
	})
}

func TestContentionAgainstPprof(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		for _, rate := range []string{"rates", "block100"} {
			t.Run(rate, func(t *testing.T) {
				tg := start(t, version, rate, "contend")
				for kind, take := range map[string]func(profile.Runtime) (*profile.Profile, error){"block": profile.TakeBlock, "mutex": profile.TakeMutex} {
					// Locks of the runtime itself may be contended for at any time, and
					// the writing of the profile is what blocks after it was taken.
					own := []string{"runtime._LostContendedRuntimeLock", "runtime.unlock", "runtime/pprof."}
					want := sampleMap(t, parse(t, tg.Ask(t, "profile %s 0", kind)), own...)
					p, err := take(tg)
					if err != nil {
						t.Fatal(err)
					}
					if p.Truncated != "" || p.Rate <= 0 {
						t.Errorf("%s: truncated %q, rate %d", kind, p.Truncated, p.Rate)
					}
					if len(want) < 2 {
						t.Errorf("%s: only %d samples compared", kind, len(want))
					}
					diff(t, kind, sampleMap(t, write(t, p), own...), want)
				}
			})
		}
	})
}

func TestDisabled(t *testing.T) {
	tg := start(t, targettest.Local)
	for _, take := range []func(profile.Runtime) (*profile.Profile, error){profile.TakeBlock, profile.TakeMutex} {
		_, err := take(tg)
		if e, ok := err.(*profile.DisabledError); !ok || e.Hint == "" {
			t.Errorf("error %v, want a DisabledError with a hint", err)
		}
	}
	// Profiling that its environment turned off, and that the linker left out.
	for _, tg := range []*targettest.Target{
		start(t, targettest.Local, "GODEBUG=memprofilerate=0"),
		targettest.Start(t, targettest.Build(t, targettest.Local, "plain")),
	} {
		p, err := profile.TakeHeap(tg)
		if e, ok := err.(*profile.DisabledError); !ok || e.Hint == "" {
			t.Errorf("profile %+v, error %v, want a DisabledError with a hint", p, err)
		}
	}
}

// TestRecords compares sums over the recorded forms with the pprof files.
func TestRecords(t *testing.T) {
	tg := start(t, targettest.Local, "GODEBUG=memprofilerate=1", "allocate")
	tg.Ask(t, "gc")
	tg.Ask(t, "gc")
	p, err := profile.TakeHeap(tg)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Record()
	if r.Kind != record.ProfileHeap || r.PeriodBytes != 1 {
		t.Errorf("kind %q, period %d", r.Kind, r.PeriodBytes)
	}
	var sums [4]float64
	for i, s := range r.Sites {
		sums[0] += s.AllocObjects
		sums[1] += s.AllocBytes
		sums[2] += s.InUseObjects
		sums[3] += s.InUseBytes
		if i > 0 && s.InUseBytes > r.Sites[i-1].InUseBytes {
			t.Fatal("sites are not in order")
		}
		if len(s.Stack) == 0 {
			t.Error("a site without a stack")
		}
	}
	var want [4]float64
	for _, s := range write(t, p).Sample {
		for i, v := range s.Value {
			want[i] += float64(v)
		}
	}
	if sums != want {
		t.Errorf("sums %v, want %v", sums, want)
	}
}

func TestGoroutinePprof(t *testing.T) {
	tg := start(t, targettest.Local)
	gs := take(t, tg)
	var b bytes.Buffer
	text, etext := tg.Text, tg.EText
	if err := gs.WritePprof(&b, profile.WriteOptions{Mappings: []profile.Mapping{{Start: text, Limit: etext, File: "/bin/target", BuildID: "abc"}}}); err != nil {
		t.Fatal(err)
	}
	p := parse(t, b.Bytes())
	total := 0
	reasons := map[string]int{}
	for _, s := range p.Sample {
		total += int(s.Value[0])
		reasons[strings.Join(s.Label["wait_reason"], ",")] += int(s.Value[0])
		for _, l := range s.Location {
			if l.Mapping == nil || l.Mapping.BuildID != "abc" {
				t.Fatalf("location %#x has mapping %v", l.Address, l.Mapping)
			}
		}
		if len(s.Location) == 0 {
			t.Error("a goroutine without a stack")
		}
	}
	if total != gs.Total {
		t.Errorf("%d goroutines in the file, want %d", total, gs.Total)
	}
	if reasons["sync.Mutex.Lock"] != 3 || reasons["chan receive"] < 10 {
		t.Errorf("wait reasons %v", reasons)
	}
}

// TestSince adds what a profile does not have in it yet to it, and compares with the one
// that has.
func TestSince(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		tg := start(t, version, "GODEBUG=memprofilerate=1")
		take := func() (published, since *record.Profile) {
			t.Helper()
			p, err := profile.TakeHeap(tg)
			if err != nil {
				t.Fatal(err)
			}
			return p.Record(), p.Since()
		}
		allocated := func(p *record.Profile) (bytes float64) {
			if p == nil {
				return 0
			}
			for _, s := range p.Sites {
				for _, f := range s.Stack {
					if strings.HasPrefix(f.Func, "runtime/pprof.") {
						bytes += s.AllocBytes
						break
					}
				}
			}
			return bytes
		}
		tg.Ask(t, "gc")
		tg.Ask(t, "gc")
		tg.Ask(t, "profile heap 0")
		p, since := take()
		before, more := allocated(p), allocated(since)
		if since == nil || since.Kind != profile.HeapSince || more == 0 {
			t.Fatalf("%v bytes since the last collection, a profile: %v", more, since != nil)
		}
		tg.Ask(t, "gc")
		tg.Ask(t, "gc")
		p, _ = take()
		if got := allocated(p); got != before+more {
			t.Errorf("%v bytes published at last, of %v before and %v since", got, before, more)
		}
	})
}
