package scrape

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/pprof"
	"runtime"
	rpprof "runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// servePprof serves the profiles of this process.
func servePprof(t *testing.T) *Client {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	return serve(t, "/debug/pprof", Limits{}, mux.ServeHTTP)
}

var hoard [][]byte

//go:noinline
func allocate() {
	for range 4 {
		hoard = append(hoard, make([]byte, 16<<20))
	}
}

//go:noinline
func waitHere(ready *sync.WaitGroup, c chan struct{}) {
	ready.Done()
	<-c
}

func startWaiting(n int) (stop func()) {
	c := make(chan struct{})
	var ready sync.WaitGroup
	ready.Add(n)
	for range n {
		go waitHere(&ready, c)
	}
	ready.Wait()
	untilWaiting("[chan receive]:\ngithub.com/heapwright/heapwright/cmd/internal/scrape.waitHere", n)
	return func() { close(c) }
}

// untilWaiting returns when n goroutines are in a state: to be about to wait is
// not yet to wait.
func untilWaiting(state string, n int) {
	for {
		var text bytes.Buffer
		rpprof.Lookup("goroutine").WriteTo(&text, 2)
		if strings.Count(text.String(), state) >= n {
			return
		}
		runtime.Gosched()
	}
}

func has(stack []record.Frame, name string) bool {
	return slices.ContainsFunc(stack, func(f record.Frame) bool { return strings.HasSuffix(f.Func, name) })
}

func TestHeapProfile(t *testing.T) {
	allocate()
	defer func() { hoard = nil }()
	runtime.GC()
	p, err := servePprof(t).Profile(t.Context(), record.ProfileHeap)
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != record.ProfileHeap || p.PeriodBytes != int64(runtime.MemProfileRate) || time.Since(p.Time) > time.Minute {
		t.Errorf("kind %q, period %d, time %v", p.Kind, p.PeriodBytes, p.Time)
	}
	i := slices.IndexFunc(p.Sites, func(s record.ProfileSite) bool { return has(s.Stack, "scrape.allocate") })
	if i < 0 {
		t.Fatal("the site that allocates is missing")
	}
	site := p.Sites[i]
	// Objects of 32 times the period are sampled for certain, so to speak.
	if site.InUseBytes != 64<<20 || site.InUseObjects != 4 || site.AllocBytes < site.InUseBytes {
		t.Errorf("site is %+v", site)
	}
	if f := site.Stack[0]; !strings.HasSuffix(f.Func, "scrape.allocate") || !strings.HasSuffix(f.File, "pprof_test.go") || f.Line == 0 {
		t.Errorf("the leaf is %+v", f)
	}
	if !slices.IsSortedFunc(p.Sites, func(a, b record.ProfileSite) int { return int(b.InUseBytes - a.InUseBytes) }) {
		t.Error("the sites are not sorted")
	}
}

func TestMutexProfile(t *testing.T) {
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	var mu sync.Mutex
	mu.Lock()
	var done sync.WaitGroup
	done.Go(func() {
		mu.Lock()
		defer mu.Unlock()
	})
	untilWaiting("[sync.Mutex.Lock]", 1)
	mu.Unlock()
	done.Wait()
	c := servePprof(t)
	p, err := c.Profile(t.Context(), record.ProfileMutex)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Sites, func(s record.ProfileSite) bool { return has(s.Stack, "scrape.TestMutexProfile") })
	if i < 0 || p.Sites[i].Contentions < 1 || p.Sites[i].Delay <= 0 {
		t.Errorf("contention is missing: %+v", p.Sites)
	}
	if _, err := c.Profile(t.Context(), record.ProfileBlock); err != nil {
		t.Error(err)
	}
}

func TestGoroutines(t *testing.T) {
	stop := startWaiting(25)
	defer stop()
	c := servePprof(t)
	g, err := c.Goroutines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Groups[0]; got.Count != 25 || !has(got.Stack, "scrape.waitHere") || g.Total < 26 || time.Since(g.Time) > time.Minute {
		t.Errorf("%d goroutines, the largest group is %+v", g.Total, got)
	}
}

func TestGoroutineStates(t *testing.T) {
	stop := startWaiting(25)
	defer stop()
	g, err := servePprof(t).GoroutineStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := g.Groups[0]
	if got.Count != 25 || got.Status != "waiting" || got.WaitReason != "chan receive" || g.Total < 26 || time.Since(g.Time) > time.Minute {
		t.Errorf("%d goroutines, the largest group is %+v", g.Total, got)
	}
	if f := got.CreatedBy; !strings.HasSuffix(f.Func, "scrape.startWaiting") || !strings.HasSuffix(f.File, "pprof_test.go") || f.Line == 0 {
		t.Errorf("created by %+v", f)
	}
	if f := got.Stack[0]; !strings.HasSuffix(f.Func, "scrape.waitHere") || !strings.HasSuffix(f.File, "pprof_test.go") || f.Line == 0 {
		t.Errorf("the leaf is %+v", f)
	}
}

func TestParseGoroutines(t *testing.T) {
	const stack = "main.(*server).wait(0xc000012345, {0x1, 0x2})\n\t/src/main file.go:12 +0x1d\nmain.run(...)\n\t/src/main.go:20\ncreated by main.main in goroutine 1\n\t/src/main.go:10 +0x25\n"
	for _, test := range []struct {
		header, status, reason string
		wait                   time.Duration
	}{
		{"goroutine 7 [chan receive, 5 minutes, locked to thread]:", "waiting", "chan receive", 5 * time.Minute},
		{"goroutine 7 [running]:", "running", "", 0},
		{"goroutine 7 [syscall, 1500 minutes]:", "syscall", "", 1500 * time.Minute},
		{"goroutine 7 [runnable (scan)]:", "runnable", "", 0},
		{"goroutine 7 gp=0xc000002380 m=0 mp=0x5f5e40 [chan receive (nil chan)]:", "waiting", "chan receive (nil chan)", 0},
		{"goroutine 7 [select (durable), synctest bubble 3]:", "waiting", "select", 0},
		{"goroutine 7 [IO wait labels:{\"a]:\": \"b, 9 minutes\"}]:", "waiting", "IO wait", 0},   // Go 1.26
		{"goroutine 7 [IO wait, 2 minutes] {a: \"b]\"}:", "waiting", "IO wait", 2 * time.Minute}, // Go 1.27
		{"goroutine 7 [chan send (leaked)]:", "waiting", "chan send", 0},
	} {
		g, err := parseGoroutines(test.header + "\n" + stack + "\n" + test.header + "\n" + stack)
		if err != nil || len(g.Groups) != 1 || g.Total != 2 {
			t.Errorf("%s: %v, %+v", test.header, err, g)
			continue
		}
		got := g.Groups[0]
		if got.Status != test.status || got.WaitReason != test.reason || got.WaitMax != test.wait {
			t.Errorf("%s: status %q, reason %q, wait %v", test.header, got.Status, got.WaitReason, got.WaitMax)
		}
		if want := (record.Frame{Func: "main.main", File: "/src/main.go", Line: 10}); got.CreatedBy != want {
			t.Errorf("created by %+v", got.CreatedBy)
		}
		want := []record.Frame{{Func: "main.(*server).wait", File: "/src/main file.go", Line: 12}, {Func: "main.run", File: "/src/main.go", Line: 20}}
		if !slices.Equal(got.Stack, want) {
			t.Errorf("stack is %+v, want %+v", got.Stack, want)
		}
	}

	odd := "goroutine 1 [running]:\n\tgoroutine running on other thread; stack unavailable\n\ngoroutine 2 [select]:\nmain.f(0x1)\n\t/a.go:x +0x1\n...100 frames elided...\nnon-Go function\n\tpc=0x1\n[originating from goroutine 1]:\n\ngoroutine x\nmain.g()\n\ngoroutine profile: total 3\n"
	g, err := parseGoroutines(odd)
	if err != nil || g.Total != 2 || len(g.Groups[0].Stack) != 0 || len(g.Groups[1].Stack) != 2 || g.Groups[1].Stack[0] != (record.Frame{Func: "main.f", File: "/a.go:x"}) {
		t.Errorf("%v, %+v", err, g)
	}
	if _, err := parseGoroutines("<html>"); err == nil {
		t.Error("HTML is taken for goroutines")
	}
}

func TestProfileErrors(t *testing.T) {
	heap := func() []byte {
		var b bytes.Buffer
		rpprof.Lookup("heap").WriteTo(&b, 0)
		return b.Bytes()
	}()
	goroutines := func() []byte {
		var b bytes.Buffer
		rpprof.Lookup("goroutine").WriteTo(&b, 0)
		return b.Bytes()
	}()
	zipped := func(b []byte) []byte {
		var out bytes.Buffer
		gz := gzip.NewWriter(&out)
		gz.Write(b)
		gz.Close()
		return out.Bytes()
	}
	for _, test := range []struct {
		name   string
		status int
		ctype  string
		body   []byte
		want   string
	}{
		{"not found", 404, "", nil, "import net/http/pprof"},
		{"HTML", 200, "text/html", []byte("<html>"), "web page"},
		{"text", 200, "", []byte("heap profile: 1: 2 [3: 4] @ heap/1048576\n"), "not in pprof's format"},
		{"cut", 200, "", heap[:len(heap)/2], "unexpected EOF"},
		{"empty", 200, "", nil, "parsing the profile"},
		{"another profile", 200, "", goroutines, "has no alloc_objects"},
		{"bomb", 200, "", zipped(make([]byte, 4<<20)), "longer than 1 MiB"},
		{"many records", 200, "", zipped(bytes.Repeat([]byte{0x12, 0}, 1<<19)), "parsing the profile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, "", Limits{ProfileBytes: 1 << 20}, func(w http.ResponseWriter, r *http.Request) {
				if test.ctype == "" {
					test.ctype = "application/octet-stream"
				}
				w.Header().Set("Content-Type", test.ctype)
				if test.status != 200 {
					w.WriteHeader(test.status)
				}
				w.Write(test.body)
			})
			p, err := c.Profile(t.Context(), record.ProfileHeap)
			var e *Error
			if p != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, error %v, want an *Error with %q", p, err, test.want)
			}
		})
	}

	if _, err := parseProfile(bytes.Repeat([]byte{0x12, 0}, maxProfileRecords+1)); err == nil || !strings.Contains(err.Error(), "records") {
		t.Errorf("many records: %v", err)
	}
	if _, err := parseProfile(make([]byte, maxProfileBytes+1)); err == nil || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("a long profile: %v", err)
	}
	for _, bad := range [][]byte{{0xff}, {0x08}, {0x09, 1}, {0x0a, 5, 1}, {0x0d, 1}, {0x0b}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if n, ok := countRecords(bad); ok {
			t.Errorf("%x has %d records", bad, n)
		}
	}
}

func TestConvertGoroutinesRefuses(t *testing.T) {
	for _, n := range []int64{-1, 1 << 40} {
		p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "goroutine", Unit: "count"}}, Sample: []*profile.Sample{{Value: []int64{n}}}}
		if _, err := convertGoroutines(p, "goroutine"); err == nil {
			t.Errorf("%d goroutines are believed", n)
		}
	}
	labels := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "goroutine", Unit: "count"}},
		Sample: []*profile.Sample{
			{Value: []int64{2}, Label: map[string][]string{"tenant": {"a"}}},
			{Value: []int64{3}, Label: map[string][]string{"tenant": {"b"}}},
		},
	}
	g, err := convertGoroutines(labels, "goroutine")
	if err != nil || len(g.Groups) != 2 || g.Total != 5 || g.Groups[0].Labels["tenant"] != "b" {
		t.Errorf("%v, %+v", err, g)
	}
}

func FuzzProfile(f *testing.F) {
	for _, name := range []string{"heap", "goroutine", "mutex"} {
		var b bytes.Buffer
		rpprof.Lookup(name).WriteTo(&b, 0)
		data, err := ungzip(b.Bytes(), 1<<20)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProfile(data)
		if err != nil {
			return
		}
		for _, kind := range []record.ProfileKind{record.ProfileHeap, record.ProfileMutex} {
			if r, err := convertProfile(p, kind); err == nil {
				for _, s := range r.Sites {
					if s.Delay < 0 {
						t.Fatalf("%+v", s)
					}
				}
			}
		}
		if g, err := convertGoroutines(p, "goroutine"); err == nil && g.Total < 0 {
			t.Fatalf("%d goroutines", g.Total)
		}
	})
}

func FuzzGoroutines(f *testing.F) {
	var b bytes.Buffer
	rpprof.Lookup("goroutine").WriteTo(&b, 2)
	f.Add(b.String())
	f.Add("goroutine 1 [a, 3 minutes]:\nf(\n\tx:1\ncreated by g\n\t:\n")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := parseGoroutines(text)
		if err != nil {
			return
		}
		sum := 0
		for _, group := range g.Groups {
			sum += group.Count
			if group.Count < 1 || group.WaitMax < 0 || group.Status == "" {
				t.Fatalf("%+v", group)
			}
			for _, frame := range append(group.Stack, group.CreatedBy) {
				if frame.Line < 0 {
					t.Fatalf("%+v", frame)
				}
			}
		}
		if sum != g.Total || g.Total > strings.Count(text, "goroutine ") {
			t.Fatalf("%d goroutines, %d in groups", g.Total, sum)
		}
	})
}
