package api

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

type fakeBox struct{}

func (fakeBox) Stats() blackbox.Stats { return blackbox.Stats{Watched: 3, Captures: 7} }

func TestPostmortems(t *testing.T) {
	w := newWorld(t)
	var list OOMsDocument
	w.get("oom", &list)
	if list.Enabled || len(list.Postmortems) != 0 {
		t.Errorf("without a black box: %+v", list)
	}
	dir := t.TempDir()
	w.sources.BlackBox, w.sources.Postmortems = fakeBox{}, dir
	rec := ruletest.Server{Live: ruletest.Ramp(10*mib, 90*mib, 30), Container: 128 * mib}.Recording()
	last := rec.Samples[len(rec.Samples)-1].Time
	const id = "server-4242-20260102T030435.010Z"
	f, err := os.Create(filepath.Join(dir, id+".hwrec"))
	if err != nil {
		t.Fatal(err)
	}
	if err := postmortem.Write(f, &postmortem.Evidence{Recording: rec, Kill: &postmortem.Kill{Time: last.Add(time.Millisecond), PID: 4242, Known: []postmortem.Source{postmortem.FromKernelLog}}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const broken = "other-7-20260102T030436.010Z"
	if err := os.WriteFile(filepath.Join(dir, broken+".hwrec"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		list = OOMsDocument{}
		w.get("oom", &list)
		if !list.Enabled || list.Watched != 3 || len(list.Postmortems) != 2 {
			t.Fatalf("%+v", list)
		}
		if p := list.Postmortems[0]; p.ID != broken || p.Error == nil || p.Memory != nil {
			t.Errorf("a broken one: %+v", p)
		}
		if p := list.Postmortems[1]; p.ID != id || p.PID != 4242 || p.Memory == nil || *p.Memory != string(postmortem.HeapLive) || p.LimitBytes == nil {
			t.Errorf("a good one: %+v", p)
		}
	}
	var doc postmortem.Report
	w.get("oom/"+id, &doc)
	if doc.Schema != postmortem.Schema || doc.Verdict.Memory != postmortem.HeapLive {
		t.Errorf("the document: %+v", doc.Verdict)
	}
	w.refused("oom/"+broken, 422, "cannot be read")
	w.refused("oom/nobody-1-20260102T030436.010Z", 404, "no post-mortem")
	w.refused("oom/..%2f..%2fetc%2fpasswd", 404, "no post-mortem")
	w.refused("oom/"+broken+"/report", 422, "cannot be read")
}
