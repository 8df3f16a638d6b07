package postmortem

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var instant = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func full() *Evidence {
	return &Evidence{
		Recording: &record.Recording{Process: record.Process{PID: 4711, Name: "server", GoVersion: "go1.26.8"}},
		Kill: &Kill{
			Time: instant.Add(time.Minute), PID: 4711, Name: "server", UID: 1000, Known: []Source{FromKernelLog, FromCounter}, Member: true,
			Constraint: "CONSTRAINT_MEMCG", OOMGroup: "/pod/a", TaskGroup: "/pod/a/b", InvokedBy: "sh", GFP: "0xcc0(GFP_KERNEL)", Order: 2,
			TotalVMBytes: 9 << 30, AnonRSSBytes: 60 << 20, FileRSSBytes: 4 << 20, ShmemRSSBytes: 1 << 20, PageTableBytes: 300 << 10, OOMScoreAdj: -5,
			UsageBytes: 64 << 20, LimitBytes: 64 << 20, FailCount: 12,
			Parts: map[Part]uint64{PartAnon: 60 << 20, PartFile: 0},
			Tasks: []Task{{PID: 4711, Name: "server", RSSBytes: 65 << 20, AnonBytes: 60 << 20, FileBytes: 4 << 20, ShmemBytes: 1 << 20, PageTableBytes: 300 << 10, SwapBytes: 1, TotalVMBytes: 9 << 30, OOMScoreAdj: -5}},
			Text:  []string{"sh invoked oom-killer", "Memory cgroup out of memory"},
		},
		Groups: []Group{
			{Time: instant, Path: "/pod/a/b", Version: 2, UsageBytes: 20 << 20, LimitBytes: 64 << 20, LimitPath: "/pod/a", Parts: map[Part]uint64{PartAnon: 18 << 20}},
			{Time: instant.Add(50 * time.Second), Path: "/pod/a/b", Version: 2, UsageBytes: 60 << 20, LimitBytes: 64 << 20, LimitPath: "/pod/a", PeakBytes: 61 << 20, OOMKills: 3,
				Siblings: []Sibling{{PID: 5, Name: "sidecar", RSSBytes: 3 << 20, AnonBytes: 2 << 20}}, SiblingsLeftOut: 2},
		},
		Captures: []Capture{
			{Time: instant, Why: WhyQuiet, Took: 12 * time.Millisecond, Kinds: []string{"heap", "goroutines"}, Bytes: 20 << 20},
			{Time: instant.Add(50 * time.Second), Why: "slope", Took: 15 * time.Millisecond, Kinds: []string{"heap"}, Failed: "goroutines: gone", Bytes: 60 << 20},
		},
		Notices: []Notice{{Time: instant.Add(40 * time.Second), Kind: "threshold", Text: "usage passed 90%"}},
	}
}

// What is written into a recording is read out of it again, through a file too.
func TestRoundTrip(t *testing.T) {
	want := full()
	var file bytes.Buffer
	w := record.NewWriter(&file)
	err := w.Process(want.Recording.Process)
	for _, e := range want.Events() {
		err = errors.Join(err, w.Event(&e))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	recs, err := record.ReadAll(&file)
	if err != nil || len(recs) != 1 {
		t.Fatalf("%d recordings, %v", len(recs), err)
	}
	got, err := Read(recs[0])
	if err != nil {
		t.Fatal(err)
	}
	want.Recording = got.Recording
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
		t.Errorf("kill %+v\nwant %+v", got.Kill, want.Kill)
	}
}

func TestReadRefuses(t *testing.T) {
	var not *NotPostmortemError
	if _, err := Read(&record.Recording{}); !errors.As(err, &not) {
		t.Errorf("an empty recording: %v", err)
	}
	if _, err := Read(nil); err == nil {
		t.Error("no recording: no error")
	}
}

// A kill that names its process is not put aside by one that was only counted.
func TestReadTakesTheKillThatSaysMost(t *testing.T) {
	named := record.Event{Time: instant, Kind: EventKill, Data: map[string]string{"pid": "7", "known": "kernel_log"}}
	counted := record.Event{Time: instant.Add(time.Second), Kind: EventKill, Text: "the group's counter rose"}
	for _, events := range [][]record.Event{{named, counted}, {counted, named}} {
		e, err := Read(&record.Recording{Events: events})
		if err != nil || e.Kill.PID != 7 {
			t.Errorf("%v: %+v", err, e.Kill)
		}
	}
	e, err := Read(&record.Recording{Events: []record.Event{counted}})
	if err != nil || !slices.Equal(e.Kill.Known, []Source{FromCounter}) {
		t.Errorf("a counted kill: %+v, %v", e.Kill, err)
	}
}

// FuzzRead demands that evidence keeps to its bounds, and that writing and reading it
// again changes nothing.
func FuzzRead(f *testing.F) {
	f.Add("oom_kill", "pid", "4711", "known", "kernel_log,exit_status")
	f.Add("oom_group", "usage_bytes", "18446744073709551615", "part_anon", "x")
	f.Add("oom_sibling", "name", "\xff\xfe", "rss_bytes", "-1")
	f.Add("oom_capture", "took_ns", "99999999999999999999", "kinds", ",,,")
	f.Fuzz(func(t *testing.T, kind, k1, v1, k2, v2 string) {
		rec := &record.Recording{}
		for range 3 {
			rec.Events = append(rec.Events,
				record.Event{Time: instant, Kind: EventGroup, Data: map[string]string{k1: v1}},
				record.Event{Time: instant, Kind: record.EventKind(kind), Text: v2, Data: map[string]string{k1: v1, k2: v2}})
		}
		e, err := Read(rec)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range e.Groups {
			for _, b := range slices.Collect(maps.Values(g.Parts)) {
				if b > maxBytes {
					t.Errorf("a part of %d bytes", b)
				}
			}
		}
		e.Recording = &record.Recording{Events: e.Events()}
		again, err := Read(e.Recording)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Errorf("read again:\n%+v\nfirst:\n%+v", again, e)
		}
	})
}

func TestBounded(t *testing.T) {
	long := strings.Repeat("ä", maxText)
	if got := bounded(long); len(got) > maxText || !strings.HasPrefix(long, got) {
		t.Errorf("bounded gives %d bytes", len(got))
	}
}
