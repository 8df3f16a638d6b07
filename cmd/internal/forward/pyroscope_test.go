package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pprof "github.com/google/pprof/profile"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// A pushed profile, as Pyroscope reads it.
type pushed struct {
	labels  map[string]string
	profile *pprof.Profile
}

// decodePush reads a push.v1.PushRequest as its proto file has it: series = 1 {labels = 1
// {name = 1, value = 2}, samples = 2 {raw_profile = 1}}.
func decodePush(body []byte) ([]pushed, error) {
	fields := func(b []byte, f func(n protowire.Number, v []byte) error) error {
		for len(b) > 0 {
			n, typ, k := protowire.ConsumeTag(b)
			if k < 0 || typ != protowire.BytesType {
				return fmt.Errorf("field %d is of type %d", n, typ)
			}
			v, m := protowire.ConsumeBytes(b[k:])
			if m < 0 {
				return protowire.ParseError(m)
			}
			if err := f(n, v); err != nil {
				return err
			}
			b = b[k+m:]
		}
		return nil
	}
	var all []pushed
	err := fields(body, func(_ protowire.Number, series []byte) error {
		p := pushed{labels: map[string]string{}}
		err := fields(series, func(n protowire.Number, v []byte) error {
			if n == 1 {
				var name, value string
				err := fields(v, func(n protowire.Number, v []byte) error {
					if n == 1 {
						name = string(v)
					} else {
						value = string(v)
					}
					return nil
				})
				p.labels[name] = value
				return err
			}
			return fields(v, func(_ protowire.Number, raw []byte) (err error) {
				p.profile, err = pprof.ParseData(raw)
				return err
			})
		})
		all = append(all, p)
		return err
	})
	return all, err
}

func snapshot(at time.Time, pid int, alloc float64) *record.Recording {
	frames := func(names ...string) []record.Frame {
		var out []record.Frame
		for i, n := range names {
			out = append(out, record.Frame{Func: n, File: "main.go", Line: 10 * (i + 1)})
		}
		return out
	}
	return &record.Recording{
		Process: record.Process{PID: pid, StartTime: time.Unix(int64(pid), 0), Name: "api", ModuleVersion: "v1.0.0"},
		Goroutines: []record.Goroutines{{Time: at, Total: 5, Groups: []record.GoroutineGroup{
			{Count: 4, Status: "waiting", WaitReason: "select", Stack: frames("main.wait", "main.main")},
			{Count: 1, Status: "running"},
			{Count: 9, Status: "waiting", Stack: frames("runtime.bgsweep"), System: true},
		}}},
		Profiles: []record.Profile{
			{Time: at, Kind: record.ProfileHeap, PeriodBytes: 512 << 10, Sites: []record.ProfileSite{
				{Stack: frames("main.leak", "main.main"), AllocBytes: alloc, AllocObjects: alloc / 100, InUseBytes: alloc / 2, InUseObjects: alloc / 200},
				// The same stack, another size of object.
				{Stack: frames("main.leak", "main.main"), AllocBytes: alloc, AllocObjects: alloc / 10, InUseBytes: 0},
				{Stack: frames("main.idle", "main.main"), AllocBytes: 500, AllocObjects: 5},
			}},
			{Time: at, Kind: record.ProfileBlock, Sites: []record.ProfileSite{{Stack: frames("main.lock"), Contentions: alloc / 1000, Delay: time.Duration(alloc)}}},
		},
	}
}

func TestPush(t *testing.T) {
	t0 := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	first, second := snapshot(t0, 7, 10_000), snapshot(t0.Add(time.Minute), 7, 16_000)
	read := func(rec, before *record.Recording) map[string]pushed {
		body, n, err := push("api:2", "web1", rec, before)
		if err != nil {
			t.Fatal(err)
		}
		all, err := decodePush(body)
		if err != nil || len(all) != n {
			t.Fatal(len(all), n, err)
		}
		m := map[string]pushed{}
		for _, p := range all {
			if err := p.profile.CheckValid(); err != nil {
				t.Error(err)
			}
			m[p.labels["__name__"]] = p
		}
		return m
	}
	types := func(p *pprof.Profile) string {
		var s string
		for _, x := range p.SampleType {
			s += x.Type + ":" + x.Unit + " "
		}
		return s
	}
	alone := read(first, nil)
	if len(alone) != 2 || types(alone["memory"].profile) != "inuse_objects:count inuse_space:bytes " {
		t.Errorf("without one before, %d profiles, memory has %s", len(alone), types(alone["memory"].profile))
	}
	both := read(second, first)
	mem := both["memory"]
	if len(both) != 3 || types(mem.profile) != "alloc_objects:count alloc_space:bytes inuse_objects:count inuse_space:bytes " {
		t.Fatalf("%d profiles, memory has %s", len(both), types(mem.profile))
	}
	if len(mem.profile.Sample) != 1 || fmt.Sprint(mem.profile.Sample[0].Value) != "[660 12000 80 8000]" {
		t.Errorf("memory is\n%s", mem.profile)
	}
	if mem.profile.TimeNanos != t0.Add(time.Minute).UnixNano() || mem.profile.DurationNanos != int64(time.Minute) || mem.profile.Period != 512<<10 {
		t.Errorf("memory has time %d, duration %d, period %d", mem.profile.TimeNanos, mem.profile.DurationNanos, mem.profile.Period)
	}
	if l := mem.labels; l["service_name"] != "api" || l["process"] != "api:2" || l["hostname"] != "web1" || l["pid"] != "7" || l["__delta__"] != "false" || l["service_version"] != "v1.0.0" {
		t.Errorf("labels are %v", l)
	}
	g := both["goroutine"].profile
	if len(g.Sample) != 1 || g.Sample[0].Value[0] != 4 || g.Sample[0].Label["wait_reason"][0] != "select" || g.Sample[0].Location[0].Line[0].Function.Name != "main.wait" {
		t.Errorf("goroutines are\n%s", g)
	}
	if b := both["block"].profile; len(b.Sample) != 1 || fmt.Sprint(b.Sample[0].Value) != "[6 6000]" {
		t.Errorf("block is\n%s", b)
	}
	if body, n, err := push("x", "", &record.Recording{}, nil); len(body) != 0 || n != 0 || err != nil {
		t.Error("nothing became something")
	}
}

// shelf is a vault in memory.
type shelf struct {
	mu  sync.Mutex
	all []vault.Entry
	rec map[string]*record.Recording
}

func (s *shelf) put(process string, rec *record.Recording) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := rec.Goroutines[0].Time
	e := vault.Entry{Process: process, Key: at.UTC().Format("150405.000000"), Time: at, Kinds: []string{"goroutines", "heap", "block"}}
	s.all = append(s.all, e)
	slices.SortStableFunc(s.all, func(a, b vault.Entry) int { return a.Time.Compare(b.Time) })
	if s.rec == nil {
		s.rec = map[string]*record.Recording{}
	}
	s.rec[id(e)] = rec
}

func (s *shelf) List(process string, from, to time.Time) []vault.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []vault.Entry
	for _, e := range s.all {
		if (process == "" || e.Process == process) && !e.Time.Before(from) && !e.Time.After(to) {
			out = append(out, e)
		}
	}
	return out
}

func (s *shelf) Get(process, key string) (*record.Recording, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rec[process+"/"+key]; r != nil {
		return r, nil
	}
	return nil, &vault.NotFoundError{Process: process, Key: key}
}

// Every snapshot arrives, whatever fails on the way, and with it no more than was
// allocated.
func TestSnapshotsArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		var mu sync.Mutex
		got := map[string]int{}
		allocated := map[string]int64{}
		calls := 0
		post := roundTrip(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			if req.URL.Path != "/base"+pushPath || req.Header.Get("Content-Type") != "application/proto" {
				t.Errorf("%s with %v", req.URL, req.Header)
			}
			switch calls++; calls % 5 {
			case 1:
				return nil, errors.New("no route to host")
			case 2:
				return respond(503, ""), nil
			case 4:
				return respond(429, ""), nil
			}
			all, err := decodePush(bytes.Clone(body))
			if err != nil {
				t.Error(err)
			}
			for _, p := range all {
				key := fmt.Sprint(p.labels["process"], " ", p.profile.TimeNanos)
				if p.labels["__name__"] == "goroutine" {
					got[key]++
				}
				if p.labels["__name__"] == "memory" && len(p.profile.SampleType) == 4 {
					for _, s := range p.profile.Sample {
						allocated[p.labels["process"]] += s.Value[1]
					}
				}
			}
			return respond(200, ""), nil
		})
		dir := t.TempDir()
		cfg := Config{Pyroscope: []Destination{{Name: "p", URL: "http://pyroscope.example/base/"}}}
		run := func() *Forwarder {
			f, err := start(cfg, dir, nil, shelf, quiet, post)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		f := run()
		n := 0
		for i := range 30 {
			time.Sleep(5 * time.Minute)
			now := time.Now()
			for _, p := range []string{"a", "b"} { // at the same instant
				shelf.put(p, snapshot(now, 7, 1000*float64(i+1)))
				n++
			}
			if i%7 == 3 { // killed, and away
				gone(f)
				time.Sleep(time.Hour)
				f = run()
			}
		}
		time.Sleep(time.Hour)
		s := f.Status()[0]
		gone(f)
		if len(got) != n || s.Dropped != 0 || s.Behind != 0 {
			t.Errorf("%d of %d snapshots arrived, %+v", len(got), n, s)
		}
		for key, k := range got {
			if k != 1 {
				t.Errorf("%s arrived %d times", key, k)
			}
		}
		if want := int64(2 * 29 * 1000); allocated["a"] != want || allocated["b"] != want {
			t.Errorf("allocated: %v, not %d", allocated, want)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
