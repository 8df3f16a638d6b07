package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

// snapshot is what a process looked like at an instant: twice as much with n = 2.
func snapshot(at time.Time, start time.Time, n float64) *record.Recording {
	site := func(alloc, inUse float64, names ...string) record.ProfileSite {
		return record.ProfileSite{Stack: frames(names...), AllocBytes: n * alloc, AllocObjects: n * alloc / 64, InUseBytes: inUse, InUseObjects: inUse / 64}
	}
	return &record.Recording{
		Process: record.Process{PID: 7, Name: "web", StartTime: start},
		Goroutines: []record.Goroutines{{Time: at, Total: int(10 * n), Groups: []record.GoroutineGroup{
			{Count: int(10 * n), Status: "waiting", WaitReason: "select", CreatedBy: frames("main.main")[0], Stack: frames("main.loop"), Labels: map[string]string{"who": "me"}},
			{Count: 3, Status: "running", System: true},
		}}},
		Profiles: []record.Profile{{Time: at, Kind: record.ProfileHeap, PeriodBytes: 512 << 10, Sites: []record.ProfileSite{
			site(4*mib, mib, "main.read", "main.serve", "main.main"), site(2*mib, 2*mib, "main.keep", "main.main"),
		}}},
	}
}

func (w *world) snap(rec *record.Recording, reason string) vault.Entry {
	w.t.Helper()
	e, err := w.vault.Put("web", reason, rec)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	a := w.snap(snapshot(epoch, epoch.Add(-time.Hour), 1), "periodic")
	b := w.snap(snapshot(epoch.Add(time.Minute), epoch.Add(-time.Hour), 2), "HW3001")
	var doc struct {
		Snapshots []struct {
			Key, Reason string
			Goroutines  int
			Kinds       []string
		}
	}
	if w.get("snapshots?process=web", &doc); len(doc.Snapshots) != 2 || doc.Snapshots[0].Key != a.Key || doc.Snapshots[1].Reason != "HW3001" || doc.Snapshots[1].Goroutines != 20 {
		t.Fatalf("got %+v", doc)
	}
	w.get(fmt.Sprintf("snapshots?process=web&from=%d", epoch.Add(time.Second).Unix()), &doc)
	if len(doc.Snapshots) != 1 || doc.Snapshots[0].Key != b.Key {
		t.Errorf("of the later half: %+v", doc)
	}

	type flameDoc struct {
		Unit      string
		Total     float64
		BaseTotal float64 `json:"base_total"`
		Notes     []string
		Period    *int64 `json:"period_bytes"`
		Root      *Node
	}
	for _, tc := range []struct {
		query, want string
		base        float64
	}{
		{"type=inuse_space&at=" + a.Key, "root:3.145728e+06/0/0(main.main:3.145728e+06/0/0(main.keep:2.097152e+06/0/2.097152e+06 main.serve:1.048576e+06/0/0(main.read:1.048576e+06/0/1.048576e+06)))", 0},
		{"", "root:3.145728e+06/0/0(main.main:3.145728e+06/0/0(main.keep:2.097152e+06/0/2.097152e+06 main.serve:1.048576e+06/0/0(main.read:1.048576e+06/0/1.048576e+06)))", 0},
		{"type=alloc_objects&at=" + a.Key, "root:98304/0/0(main.main:98304/0/0(main.serve:65536/0/0(main.read:65536/0/65536) main.keep:32768/0/32768))", 0},
		// What was allocated from the one to the other is as much as before the first.
		{"type=alloc_objects&at=" + b.Key + "&base=" + a.Key, "root:98304/0/0(main.main:98304/0/0(main.serve:65536/0/0(main.read:65536/0/65536) main.keep:32768/0/32768))", 0},
		{"type=goroutines&at=" + b.Key + "&base=" + a.Key, "root:20/10/0(main.loop:20/10/20)", 10},
	} {
		var d flameDoc
		if code := w.get("profile?process=web&"+tc.query, &d); code != 200 || show(d.Root) != tc.want || d.Total != d.Root.Value || d.BaseTotal != tc.base {
			t.Errorf("%s: %d %s, total %g and %g, want %s", tc.query, code, show(d.Root), d.Total, d.BaseTotal, tc.want)
		}
	}
	// After a restart counts begin anew.
	c := w.snap(snapshot(epoch.Add(2*time.Minute), epoch.Add(90*time.Second), 1), "periodic")
	var d flameDoc
	w.get("profile?process=web&type=alloc_space&at="+c.Key+"&base="+b.Key, &d)
	if d.Total != 6*mib || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "was started between") {
		t.Errorf("over a restart: %g, %q", d.Total, d.Notes)
	}

	var g struct {
		Total     int
		BaseTotal *int `json:"base_total"`
		Groups    []GoroutineGroup
	}
	w.get("goroutines?process=web&at="+b.Key+"&base="+a.Key, &g)
	if g.Total != 20 || g.BaseTotal == nil || *g.BaseTotal != 10 || len(g.Groups) != 2 || g.Groups[0].Growth != 10 || g.Groups[0].Labels["who"] != "me" || g.Groups[0].CreatedBy.Func != "main.main" {
		t.Errorf("goroutines: %+v", g)
	}

	w.refused("profile?process=web&at=../../etc/passwd", 400, "no key")
	w.refused("profile?process=web&at=20200101T000000.000000Z", 404, "no snapshot")
	w.refused("profile?process=web&type=block", 404, "no snapshot")
	w.refused("profile?process=web&type=mutex&at="+a.Key, 404, "no profile of mutex")
	w.refused("profile?process=other", 404, "no snapshot")
	w.refused("profile?process=web&format=pprof&base="+a.Key, 400, "one moment")
	w.refused("profile?process=web&type=cpu", 400, "not one of inuse_space")
	w.refused("goroutines?process=web&at=x", 404, "no snapshot")
}

// go tool pprof reads what is downloaded.
func TestPprof(t *testing.T) {
	w := newWorld(t)
	rec := snapshot(epoch, epoch, 1)
	rec.Profiles = append(rec.Profiles, record.Profile{Time: epoch, Kind: record.ProfileBlock, Sites: []record.ProfileSite{
		{Stack: frames("main.wait", "main.main"), Contentions: 4, Delay: 3 * time.Second}, {Stack: frames("main.never")}}})
	e := w.snap(rec, "periodic")
	for _, tc := range []struct {
		kind  string
		index int
		total int64
		first string
	}{
		{"inuse_space", 3, 3 * mib, "inuse_space"}, {"alloc_objects", 0, 6 * mib / 64, "alloc_objects"},
		{"goroutines", 0, 10, ""}, {"block", 1, 3e9, ""},
	} {
		res := w.send(Handler(w.sources), "GET", "profile?process=web&format=pprof&type="+tc.kind+"&at="+e.Key, "", web.Reader)
		p, err := pprof.Parse(bytes.NewReader(res.Body.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", tc.kind, err)
		}
		var sum int64
		for _, s := range p.Sample {
			sum += s.Value[tc.index]
		}
		if sum != tc.total || p.DefaultSampleType != tc.first || p.TimeNanos != epoch.UnixNano() {
			t.Errorf("%s: %d of %v by default %q, want %d", tc.kind, sum, p.SampleType[tc.index], p.DefaultSampleType, tc.total)
		}
		if d := res.Header().Get("Content-Disposition"); !strings.Contains(d, `filename="web.`) || !strings.HasSuffix(d, `.pb.gz"`) {
			t.Errorf("%s is saved as %s", tc.kind, d)
		}
	}
}

func TestSnap(t *testing.T) {
	w := newWorld(t)
	w.agent.list = []agent.Process{{ID: "web", Up: true}, {ID: "gone"}}
	w.agent.recordings = map[string]*record.Recording{"web": snapshot(epoch, epoch, 1)}
	h := Handler(w.sources)
	post := func(body string) (int, string) {
		res := w.send(h, "POST", "snapshots", body, web.Reader)
		return res.Code, res.Body.String()
	}
	if code, body := post(`{"process":"web"}`); code != 200 || !strings.Contains(body, `"reason":"asked"`) || w.agent.snaps != 1 {
		t.Fatalf("%d %s", code, body)
	}
	res := w.send(h, "POST", "snapshots", `{"process":"web"}`, web.Reader)
	if res.Code != 429 || res.Header().Get("Retry-After") != "10" {
		t.Errorf("at once again: %d, after %s", res.Code, res.Header().Get("Retry-After"))
	}
	w.now = w.now.Add(snapEvery)
	if code, body := post(`{"process":"web"}`); code != 200 || w.agent.snaps != 2 {
		t.Errorf("10 s later: %d %s", code, body)
	}
	w.agent.vault, w.now = nil, w.now.Add(time.Minute)
	for _, tc := range []struct {
		body string
		want int
	}{
		{`{"process":"web"}`, 422}, {`{"process":"gone"}`, 409}, {`{"process":"none"}`, 404}, {`{"process":"a/b"}`, 400}, {`{}`, 400}, {`{"x":1}`, 400}, {`[`, 400},
		{`{"process":"web"}{}`, 400}, {`{"process":"` + strings.Repeat("x", 1<<20) + `"}`, 400}, {"", 415},
	} {
		if code, body := post(tc.body); code != tc.want {
			t.Errorf("%.40s: %d %s, want %d", tc.body, code, body, tc.want)
		}
		if _, body := post(tc.body); !json.Valid([]byte(body)) {
			t.Errorf("%.40s: %s", tc.body, body)
		}
	}
}
