package postmortem

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("anew", false, "write the golden files anew")

var (
	cacheStack  = []record.Frame{{Func: "example.com/server/cache.(*Cache).Put", File: "cache.go", Line: 42}, {Func: "example.com/server.handle", File: "server.go", Line: 10}, {Func: "main.main", File: "main.go", Line: 5}}
	encodeStack = []record.Frame{{Func: "encoding/json.Marshal", File: "encode.go", Line: 160}, {Func: "example.com/server.respond", File: "server.go", Line: 77}, {Func: "main.main", File: "main.go", Line: 5}}
)

// site is a site of a heap profile, as sampled every 512 KiB.
func site(alloc, inUse float64, stack []record.Frame) record.ProfileSite {
	s := rt.Allocates(alloc, alloc/1024, inUse, stack...)
	s.InUseObjects, s.SampledInUse = inUse/1024, int64(inUse/(512*rt.KiB))
	return s
}

// A death is a simulated server that is killed: what is told besides its recording.
type death struct {
	server   rt.Server
	limit    float64
	until    float64 // second of the kill; the samples after it are cut off
	unseen   float64 // seconds before the kill at which the samples end
	part     func(t float64) (parts map[Part]uint64, siblings []Sibling)
	profiles func(t float64) []record.ProfileSite
	goros    func(t float64) []record.GoroutineGroup
	quiet    float64 // second of the quiet capture; negative for none
	kill     func(*Kill)
}

// evidence is what a black box would have kept of it.
func (d death) evidence() *Evidence {
	d.server.Seconds = d.until - d.unseen
	d.server.Container = uint64(max(d.limit, 1))
	rec := d.server.Recording()
	at := func(t float64) time.Time { return rt.Epoch.Add(time.Duration(t * float64(time.Second))) }
	e := &Evidence{Recording: rec}
	beside := func(t float64) (map[Part]uint64, []Sibling) {
		if d.part == nil {
			return map[Part]uint64{PartFile: 12 * rt.MiB, PartShmem: 0, PartKernel: 1 * rt.MiB, PartSock: 0}, nil
		}
		return d.part(t)
	}
	// What the simulation says of the group is replaced by what the case says.
	for i := range rec.Samples {
		s := &rec.Samples[i]
		p, sib := beside(s.Time.Sub(rt.Epoch).Seconds())
		s.CgroupUsageBytes = s.RSSAnonBytes + p[PartFile] + p[PartKernel] + p[PartSock]
		for _, x := range sib {
			s.CgroupUsageBytes += x.AnonBytes
		}
	}
	if d.limit == 0 { // as much as there was in use at the end
		d.limit = math.Ceil(float64(rec.Samples[len(rec.Samples)-1].CgroupUsageBytes)/(rt.MiB)) * rt.MiB
	}
	rec.Process.MemoryLimitBytes = uint64(d.limit)
	for i := range rec.Samples {
		rec.Samples[i].CgroupLimitBytes = uint64(d.limit)
	}
	capture := func(t float64, why string) {
		sample := &rec.Samples[min(int(t*10), len(rec.Samples)-1)]
		p, sib := beside(t)
		e.Groups = append(e.Groups, Group{Time: sample.Time, Path: "/kubepods/pod1/app", Version: 2, LimitBytes: uint64(d.limit), UsageBytes: sample.CgroupUsageBytes, Parts: p, Siblings: sib})
		c := Capture{Time: sample.Time, Why: why, Took: 14 * time.Millisecond, Bytes: sample.CgroupUsageBytes}
		if d.profiles != nil {
			c.Kinds = append(c.Kinds, "heap")
			rec.Profiles = append(rec.Profiles, record.Profile{Time: sample.Time.Add(5 * time.Millisecond), Kind: record.ProfileHeap, PeriodBytes: 512 * rt.KiB, Sites: d.profiles(t)})
		}
		if d.goros != nil {
			c.Kinds = append(c.Kinds, "goroutines")
			g := record.Goroutines{Time: sample.Time.Add(9 * time.Millisecond), Groups: d.goros(t)}
			for _, x := range g.Groups {
				g.Total += x.Count
			}
			rec.Goroutines = append(rec.Goroutines, g)
		}
		e.Captures = append(e.Captures, c)
	}
	if d.quiet >= 0 {
		capture(d.quiet, WhyQuiet)
	}
	capture(d.until-d.unseen, "slope")
	e.Kill = &Kill{Time: at(d.until), PID: 4242, Name: "server", UID: 1000, Known: []Source{FromKernelLog, FromCounter}, Constraint: "CONSTRAINT_MEMCG",
		OOMGroup: "/kubepods/pod1/app", TaskGroup: "/kubepods/pod1/app", LimitBytes: uint64(d.limit), UsageBytes: uint64(d.limit),
		AnonRSSBytes: rec.Samples[len(rec.Samples)-1].RSSAnonBytes, FileRSSBytes: 12 * rt.MiB,
		Text: []string{"server invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0", "Memory cgroup out of memory: Killed process 4242 (server)"}}
	if d.kill != nil {
		d.kill(e.Kill)
	}
	return e
}

// leakOf is a server that keeps what it allocates, from a to b over its life.
func leakOf(a, b, seconds float64) death {
	return death{
		server: rt.Server{Live: rt.Ramp(a, b, seconds), Alloc: rt.Const((b - a) / seconds * 1.2)}, until: seconds, quiet: 2,
		profiles: func(t float64) []record.ProfileSite {
			kept := (b - a) * t / seconds
			return []record.ProfileSite{site(kept, kept, cacheStack), site(kept/5, rt.MiB, encodeStack), site(a, a, []record.Frame{{Func: "example.com/server.load", File: "load.go", Line: 3}})}
		},
	}
}

var deaths = []struct {
	name       string
	death      func() death
	memory     Memory
	site       string // function of the verdict's site, "" for none
	confidence rule.Confidence
	answer     string
}{
	{"leak", func() death {
		d := leakOf(10*rt.MiB, 90*rt.MiB, 60)
		d.server.GOGC, d.server.Alloc = 5, rt.Const(20*rt.MiB)
		return d
	}, HeapLive, "example.com/server/cache.(*Cache).Put", rule.High, LivesLonger},
	{"slow leak that garbage ends", func() death {
		d := leakOf(20*rt.MiB, 60*rt.MiB, 60)
		d.server.Alloc = rt.Const(80 * rt.MiB)
		return d
	}, HeapLive, "example.com/server/cache.(*Cache).Put", rule.High, LivesLonger},
	{"garbage without GOMEMLIMIT", func() death {
		return death{
			server: rt.Server{Live: rt.Const(30 * rt.MiB), GOGC: 800, Alloc: rt.Const(24 * rt.MiB)}, until: 28, quiet: 0.5,
			profiles: func(t float64) []record.ProfileSite {
				return []record.ProfileSite{site(t*40*rt.MiB, 2*rt.MiB, encodeStack), site(30*rt.MiB, 30*rt.MiB, cacheStack)}
			},
		}
	}, HeapGarbage, "example.com/server.respond", rule.High, Lives},
	{"stacks", func() death {
		return death{
			server: rt.Server{Stacks: rt.Ramp(rt.MiB, 70*rt.MiB, 30), Goroutines: rt.Ramp(50, 8000, 30)}, until: 30, quiet: 2,
			goros: func(t float64) []record.GoroutineGroup {
				return []record.GoroutineGroup{{Count: 50 + int(265*t), Status: "waiting", WaitReason: "chan send", CreatedBy: record.Frame{Func: "example.com/server.accept", File: "server.go", Line: 31},
					Stack: []record.Frame{{Func: "runtime.gopark"}, {Func: "example.com/server.publish", File: "hub.go", Line: 8}}}}
			},
		}
	}, Stacks, "example.com/server.accept", rule.Medium, LivesLonger},
	{"mmap", func() death {
		return death{server: rt.Server{Outside: rt.Ramp(6*rt.MiB, 100*rt.MiB, 30)}, until: 30, quiet: 2}
	}, Outside, "", rule.High, NotGo},
	{"sibling", func() death {
		return death{server: rt.Server{}, until: 30, quiet: 2, part: func(t float64) (map[Part]uint64, []Sibling) {
			grown := uint64(10*rt.MiB + 3*rt.MiB*t)
			return map[Part]uint64{PartFile: 12 * rt.MiB, PartKernel: rt.MiB}, []Sibling{{PID: 99, Name: "sidecar", RSSBytes: grown, AnonBytes: grown}, {PID: 7, Name: "sh", RSSBytes: rt.MiB, AnonBytes: rt.MiB}}
		}}
	}, SiblingMemory, "", rule.High, NotGo},
	{"page cache", func() death {
		return death{server: rt.Server{}, until: 30, quiet: 2, part: func(t float64) (map[Part]uint64, []Sibling) {
			return map[Part]uint64{PartFile: uint64(12*rt.MiB + 3*rt.MiB*t), PartKernel: rt.MiB}, nil
		}}
	}, PageCache, "", rule.High, NotGo},
	{"tmpfs", func() death {
		return death{server: rt.Server{}, until: 30, quiet: 2, part: func(t float64) (map[Part]uint64, []Sibling) {
			return map[Part]uint64{PartFile: uint64(12*rt.MiB + 3*rt.MiB*t), PartShmem: uint64(3 * rt.MiB * t), PartKernel: rt.MiB}, nil
		}}
	}, Shared, "", rule.High, NotGo},
	{"kernel memory", func() death {
		return death{server: rt.Server{}, until: 30, quiet: 2, part: func(t float64) (map[Part]uint64, []Sibling) {
			return map[Part]uint64{PartFile: 12 * rt.MiB, PartKernel: uint64(rt.MiB + rt.MiB*t), PartSock: uint64(2 * rt.MiB * t)}, nil
		}}
	}, KernelMemory, "", rule.High, NotGo},
	{"fragmentation", func() death {
		return death{server: rt.Server{FreeHeap: rt.Ramp(2*rt.MiB, 100*rt.MiB, 30)}, until: 30, quiet: 2}
	}, Fragmentation, "", rule.High, Lives},
	{"limit too small", func() death {
		return death{server: rt.Server{Live: rt.Const(100 * rt.MiB), GOGC: 10}, until: 30, quiet: 2}
	}, LimitTooSmall, "", rule.High, ""},
	{"killed at the second look", func() death {
		d := leakOf(10*rt.MiB, 90*rt.MiB, 60)
		d.limit, d.until, d.quiet, d.unseen = 128*rt.MiB, 0.0015, -1, 0
		return d
	}, NotEnough, "", rule.Low, UnknownFate},
	{"most came unseen", func() death {
		d := leakOf(10*rt.MiB, 90*rt.MiB, 60)
		d.limit, d.unseen = 128*rt.MiB, 40
		return d
	}, HeapLive, "example.com/server/cache.(*Cache).Put", rule.Low, ""},
}

// The rules hold on simulated deaths, and say the same of them when they come out of a
// file. What they say is in testdata.
func TestExamine(t *testing.T) {
	for _, c := range deaths {
		t.Run(c.name, func(t *testing.T) {
			e := c.death().evidence()
			r := Examine(e)
			got := encode(t, r)
			if r.Verdict.Memory != c.memory || r.Verdict.Confidence != c.confidence {
				t.Errorf("%s, %s (%s), want %s, %s", r.Verdict.Memory, r.Verdict.Confidence, r.Verdict.ConfidenceReason, c.memory, c.confidence)
			}
			fn := ""
			if r.Verdict.Site != nil {
				fn = r.Verdict.Site.Func
			}
			if fn != c.site {
				t.Errorf("site %q, want %q", fn, c.site)
			}
			if c.answer != "" && r.Survival.Answer != c.answer {
				t.Errorf("survival: %s (%s), want %s", r.Survival.Answer, r.Survival.Text, c.answer)
			}
			sound(t, r)
			replayed, err := Read(throughFile(t, e))
			if err != nil {
				t.Fatal(err)
			}
			if again := encode(t, Examine(replayed)); again != got {
				t.Errorf("from its file:\n%s\nfirst:\n%s", again, got)
			}
			golden(t, filepath.Join("testdata", strings.ReplaceAll(c.name, " ", "-")+".json"), got)
		})
	}
}

// sound demands of any report that its table adds up, and that its sentences hold.
func sound(t *testing.T, r *Report) {
	t.Helper()
	if c := r.Composition; c != nil {
		sum := int64(0)
		for _, row := range c.Rows {
			sum += row.Bytes
		}
		if sum-c.TotalBytes > 1 || c.TotalBytes-sum > 1 {
			t.Errorf("the rows add up to %d, not to %d: %+v", sum, c.TotalBytes, c.Rows)
		}
	}
	v := r.Verdict
	text := []string{v.Title, v.Cause, v.Remedy, v.ConfidenceReason, r.Course.Text, r.Survival.Text}
	for _, s := range text {
		if s == "" {
			t.Errorf("a text is empty: %q", text)
		}
	}
	for _, l := range r.Chain {
		text = append(text, l.Text)
	}
	for _, a := range r.Alternatives {
		text = append(text, a.Why)
	}
	for _, s := range append(text, r.Unknown...) {
		if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "%!") || strings.Contains(s, "unknown function") {
			t.Errorf("holds no number: %q", s)
		}
	}
}

func throughFile(t *testing.T, e *Evidence) *record.Recording {
	t.Helper()
	var file bytes.Buffer
	if err := Write(&file, e); err != nil {
		t.Fatal(err)
	}
	recs, err := record.ReadAll(&file)
	if err != nil || len(recs) != 1 {
		t.Fatalf("%d recordings, %v", len(recs), err)
	}
	return recs[0]
}

func encode(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		t.Fatalf("encoding a report: %v", err)
	}
	return b.String()
}

// golden compares all of a report but its course, which is long.
func golden(t *testing.T, path, got string) {
	t.Helper()
	var r Report
	if err := json.Unmarshal([]byte(got), &r); err != nil {
		t.Fatal(err)
	}
	r.Course.Points = nil
	got = encode(t, &r)
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -anew", err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Garbage that is there because of stacks counts for them: of a program that builds its
// tables first and then dies of goroutines, and not of one whose heap dwarfs its stacks.
func TestGarbageFollows(t *testing.T) {
	x := &examination{e: &Evidence{Kill: &Kill{}}}
	for _, c := range []struct {
		live, garbage, stacks float64 // MiB
		want                  Memory
	}{
		{24, 42, 58, Stacks},      // examples/faults/oomstacks, from its first second
		{60, 55, 50, HeapLive},    // stacks are the smaller of the two
		{0, 100, 2, HeapGarbage},  // a collector that is off
		{1, 100, 30, HeapGarbage}, // at most as much garbage as there are stacks is theirs
		{50, 10, 0, HeapLive},
		{0, 0, 40, Stacks},
	} {
		amount := map[Memory]float64{HeapLive: c.live, HeapGarbage: c.garbage, Stacks: c.stacks}
		if got := x.largest(amount); got != c.want || amount[Stacks] != c.stacks {
			t.Errorf("%+v: %s, %v", c, got, amount)
		}
	}
}

// Whatever is missing, there is a report, and it says what is missing.
func TestExamineWithout(t *testing.T) {
	base := func() *Evidence {
		d := leakOf(10*rt.MiB, 90*rt.MiB, 20)
		d.limit = 128 * rt.MiB
		return d.evidence()
	}
	fields := []record.Field{record.FieldHeapMarkedBytes, record.FieldHeapLiveBytes, record.FieldHeapInUseBytes, record.FieldMappedReadyBytes, record.FieldRSSAnonBytes, record.FieldRSSBytes,
		record.FieldCgroupUsageBytes, record.FieldCgroupLimitBytes, record.FieldGOMEMLIMITBytes, record.FieldTotalAllocBytes, record.FieldStackInUseBytes}
	for _, f := range fields {
		e := base()
		rt.Without(e.Recording, f)
		e.Recording.Cycles = nil
		sound(t, Examine(e))
	}
	for name, spoil := range map[string]func(*Evidence){
		"nothing":         func(e *Evidence) { *e = Evidence{} },
		"no kill":         func(e *Evidence) { e.Kill = nil },
		"no groups":       func(e *Evidence) { e.Groups = nil },
		"no profiles":     func(e *Evidence) { e.Recording.Profiles = nil },
		"no captures":     func(e *Evidence) { e.Captures = nil },
		"no samples":      func(e *Evidence) { e.Recording.Samples = nil },
		"a kill only":     func(e *Evidence) { e.Recording, e.Groups, e.Captures = nil, nil, nil },
		"an empty kill":   func(e *Evidence) { e.Kill = &Kill{} },
		"no time":         func(e *Evidence) { e.Kill.Time = time.Time{} },
		"a kill long ago": func(e *Evidence) { e.Kill.Time = rt.Epoch.Add(-time.Hour) },
		"another process": func(e *Evidence) { e.Kill.PID = 1 },
		"garbage in group": func(e *Evidence) {
			e.Groups[0].Parts = map[Part]uint64{PartFile: math.MaxUint64, PartShmem: math.MaxUint64, PartAnon: 1}
		},
		"huge samples": func(e *Evidence) {
			for i := range e.Recording.Samples {
				e.Recording.Samples[i].CgroupUsageBytes = math.MaxUint64
				e.Recording.Samples[i].HeapLiveBytes = 1 << 62
			}
		},
		"bad profile": func(e *Evidence) {
			for i := range e.Recording.Profiles {
				e.Recording.Profiles[i].Sites = append(e.Recording.Profiles[i].Sites, record.ProfileSite{InUseBytes: math.Inf(1), AllocBytes: math.NaN(), SampledInUse: -5})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := base()
			spoil(e)
			r := Examine(e)
			encode(t, r)
			sound(t, r)
		})
	}
	if r := Examine(nil); r.Verdict.Memory != NotEnough {
		t.Errorf("nothing at all: %s", r.Verdict.Memory)
	}
}

// What was sampled since the published profile names the site of a program that was
// killed within one collection.
func TestFastKillIsNamedByWhatIsNotPublished(t *testing.T) {
	e := leakOf(10*rt.MiB, 90*rt.MiB, 20)
	e.limit = 128 * rt.MiB
	ev := e.evidence()
	rec := ev.Recording
	for i := range rec.Profiles {
		p := &rec.Profiles[i]
		p.Sites = slices.DeleteFunc(slices.Clone(p.Sites), func(s record.ProfileSite) bool { return s.Stack[0] == cacheStack[0] })
	}
	last := rec.Profiles[len(rec.Profiles)-1]
	last.Kind, last.Sites = ProfileSince, []record.ProfileSite{site(60*rt.MiB, 60*rt.MiB, cacheStack), site(5*rt.MiB, -5*rt.MiB, encodeStack)}
	rec.Profiles = append(rec.Profiles, last)
	r := Examine(ev)
	if r.Verdict.Site == nil || r.Verdict.Site.Func != cacheStack[0].Func {
		t.Errorf("site %v", r.Verdict.Site)
	}
}

// The interval of a site's growth is as wide as its samples are few.
func TestSamplingError(t *testing.T) {
	for _, n := range []float64{1, 4, 100} {
		bytes := n * 512 * rt.KiB
		now := rt.HeapProfile(site(bytes, bytes, cacheStack))
		sites := grow(view.New(nil), &record.Profile{}, &now, nil, nil, math.NaN())
		want := z90 * bytes / math.Sqrt(n)
		if got := (sites[0].High - sites[0].Low) / 2; math.Abs(got-want) > 1 {
			t.Errorf("%v samples: half an interval of %v, want %v", n, got, want)
		}
		if sites[0].Significant != (n > 2.7) {
			t.Errorf("%v samples: significant %v", n, sites[0].Significant)
		}
	}
}
