package retention

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// sessions is a heap with a server that has a map of sessions, each with a buffer.
func sessions(t testing.TB, n int) *heap {
	h := newHeap(t)
	session := h.typ(heapgraph.Type{Name: "main.Session", Kind: heapgraph.KindStruct, Size: 64, Fields: []heapgraph.Field{{Name: "buf", Size: 24, Kind: heapgraph.FieldSlice}}})
	var all []*object
	for i := range n {
		buf := h.bytes(1024)
		s := h.new(session, 64, buf).word(8, 1024).word(16, 1024)
		all = append(all, s)
		if i%10 == 0 {
			h.sample(buf, 1000, "main.newSession")
		}
	}
	server := h.typ(heapgraph.Type{Name: "main.Server", Kind: heapgraph.KindStruct, Size: 128, Fields: []heapgraph.Field{
		{Name: "sessions", Offset: 40, Size: 8, Kind: heapgraph.FieldPointer}, {Name: "log", Offset: 64, Size: 24, Kind: heapgraph.FieldSlice},
	}})
	m := h.swissMap("map[string]*main.Session", 2, (n+7)/8, n, all...)
	h.global("main.server", h.new(server, 128).set(40, m).set(64, h.bytes(uint64(n)*100)))
	h.bytes(1 << 12) // garbage
	return h
}

func TestMapOfSessions(t *testing.T) {
	r := sessions(t, 1000).analyse()
	if r.UnreachedBytes != 1<<12 || len(r.Holders) != 2 {
		t.Fatalf("%d bytes unreached, holders %+v", r.UnreachedBytes, r.Holders)
	}
	h := r.Holders[0]
	if h.Root.String() != "global main.server" || h.Type != "map[string]*main.Session" || h.Container != "map" || h.Elements != 1000 || h.Shared {
		t.Errorf("the holder is %+v", h)
	}
	if want := uint64(1000*(1024+64) + 48 + 16 + 2*32 + 2*125*136); h.RetainedBytes != want || h.RetainedObjects != 2006 {
		t.Errorf("it retains %d bytes in %d objects, want %d", h.RetainedBytes, h.RetainedObjects, want)
	}
	var got []string
	for _, s := range h.Path {
		got = append(got, s.Field+" "+s.Type+" "+thousands(s.Objects))
	}
	want := []string{
		" main.Server 1", "sessions map[string]*main.Session 1", " tables of map[string]*main.Session 1", " table of map[string]*main.Session 2",
		" map.group[map[string]*main.Session] 2", " main.Session 1,000", "buf memory without pointers 1,000",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the path is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if h := r.Holders[1]; h.Path[len(h.Path)-1].Field != "log" || h.RetainedBytes != 100_000 {
		t.Errorf("the second holder is %+v", h)
	}
	if len(r.Sites) != 1 || r.Sites[0].Samples != 100 || len(r.Sites[0].Holders) != 1 {
		t.Fatalf("sites %+v", r.Sites)
	}
	if s := r.Sites[0].Holders[0]; s.Holder != 0 || s.Share != 1 || s.Samples != 100 || s.Root.Name != "main.server" {
		t.Errorf("the site's holder is %+v", s)
	}
}

func TestListIsOneStep(t *testing.T) {
	h := newHeap(t)
	element := h.typ(heapgraph.Type{Name: "container/list.Element", Kind: heapgraph.KindStruct, Size: 48})
	list := h.typ(heapgraph.Type{Name: "container/list.List", Kind: heapgraph.KindStruct, Size: 56})
	l := h.new(list, 56)
	last := l
	for range 20_000 {
		e := h.new(element, 48)
		last.set(0, e)
		e.set(8, last) // back
		e.set(16, l)
		e.set(40, h.bytes(16))
		last = e
	}
	h.global("main.queue", l)
	r := h.analyse()
	if len(r.Holders) != 1 {
		t.Fatalf("holders %+v", r.Holders)
	}
	k := r.Holders[0]
	if k.Container != "list" || k.Elements != 20_000 || k.RetainedBytes != 20_000*64+56 || len(k.Path) != 2 || !k.Path[1].Recursive {
		t.Errorf("the holder is %+v", k)
	}
}

func TestShared(t *testing.T) {
	h := newHeap(t)
	cache := h.typ(heapgraph.Type{Name: "main.Cache", Kind: heapgraph.KindStruct, Size: 32})
	c := h.new(cache, 32, h.bytes(1<<20))
	box := h.new(h.typ(heapgraph.Type{Name: "main.box", Kind: heapgraph.KindStruct, Size: 16, Fields: []heapgraph.Field{{Name: "cache", Size: 8}}}), 16, c)
	h.global("main.box", box)
	h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.worker"}, h.new(0, 24, box), c)
	h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.worker"}, c)
	r := h.analyse()
	if len(r.Holders) != 1 {
		t.Fatalf("holders %+v", r.Holders)
	}
	k := r.Holders[0]
	if k.Shared || k.Root.Name != "main.box" || len(k.UsedBy) != 1 || k.UsedBy[0] != "2 goroutines in main.worker" {
		t.Errorf("the holder is %+v", k)
	}
}

func TestSharedByGoroutines(t *testing.T) {
	h := newHeap(t)
	cache := h.typ(heapgraph.Type{Name: "main.Cache", Kind: heapgraph.KindStruct, Size: 32})
	c := h.new(cache, 32, h.bytes(1<<20))
	h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.main"}, c)
	h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.worker"}, h.new(0, 24, c))
	r := h.analyse()
	if len(r.Holders) != 1 {
		t.Fatalf("holders %+v", r.Holders)
	}
	k := r.Holders[0]
	if !k.Shared || k.Root.String() != "goroutine in main.main" || len(k.SharedBy) != 1 || k.SharedBy[0] != "goroutine in main.worker" {
		t.Errorf("the holder is %+v", k)
	}
}

func TestPprof(t *testing.T) {
	r := sessions(t, 500).analyse()
	var buf bytes.Buffer
	if err := r.WritePprof(&buf); err != nil {
		t.Fatal(err)
	}
	p, err := pprof.Parse(&buf)
	if err != nil {
		t.Fatal(err)
	}
	cum := map[string]int64{}
	var totals [4]int64
	for _, s := range p.Sample {
		for i, v := range s.Value {
			totals[i] += v
		}
		seen := map[string]bool{}
		for _, l := range s.Location {
			if name := l.Line[0].Function.Name; !seen[name] {
				seen[name] = true
				cum[name] += s.Value[1]
			}
		}
		if root := s.Location[len(s.Location)-1].Line[0].Function.Name; root != "main.server" {
			t.Errorf("a stack ends in %s", root)
		}
	}
	live := int64(r.LiveBytes - r.UnreachedBytes)
	if totals[1] != live || totals[3] != live || totals[0] != totals[2] {
		t.Errorf("totals %v, want %d bytes", totals, live)
	}
	if cum["map[string]*main.Session"] != int64(r.Holders[0].RetainedBytes) {
		t.Errorf("the map has %d cumulated, and retains %d", cum["map[string]*main.Session"], r.Holders[0].RetainedBytes)
	}
}

func TestTextAndJSON(t *testing.T) {
	h := sessions(t, 100)
	h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.\x1b[31mevil\n" + strings.Repeat("x", 5000)}, h.bytes(1<<20))
	r := h.analyse()
	for _, width := range []int{0, 60, 80, 200} {
		var b strings.Builder
		if err := r.WriteText(&b, width, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); term.Width(line) > max(width, 60) || strings.ContainsAny(line, "\x1b\r") {
				t.Errorf("at %d columns: %q", width, line)
			}
		}
		if width == 80 && !strings.Contains(b.String(), "└ .sessions map[string]*main.Session") {
			t.Errorf("the field is missing:\n%s", &b)
		}
	}
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out, &back); err != nil || back.Schema != Schema || len(back.Holders) != len(r.Holders) {
		t.Errorf("%v, %+v", err, back)
	}
}

func TestEmptyHeap(t *testing.T) {
	h := newHeap(t)
	h.global("main.nothing")
	r := h.analyse()
	var b bytes.Buffer
	if err := r.WritePprof(&b); err != nil {
		t.Error(err)
	}
	if err := r.WriteText(&b, 80, false); err != nil {
		t.Error(err)
	}
	if len(r.Holders) != 0 || r.LiveBytes != 0 {
		t.Errorf("%+v", r)
	}
}

func TestCoarseReport(t *testing.T) {
	b := heapgraph.NewBuilder(heapgraph.BuildOptions{Coarse: heapgraph.SpanPerNode})
	if err := b.AddSpan(heapgraph.Span{Base: 0xc000000000, ElemSize: 64, Slots: 100}); err != nil {
		t.Fatal(err)
	}
	if err := b.Layout(); err != nil {
		t.Fatal(err)
	}
	b.RootEdge(b.AddRoot(heapgraph.Root{Name: "main.x"}), 0xc000000000)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Analyse(context.Background(), g, Options{Look: func(uint64, []byte) int { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Coarse == "" || len(r.Notes) == 0 || r.Holders[0].RetainedBytes != 6400 || r.Holders[0].RetainedObjects != 100 {
		t.Errorf("%+v", r)
	}
}

// TestWayThroughTimers says by which timers objects are kept that are kept by
// another way, too: their dominator is where both ways begin.
func TestWayThroughTimers(t *testing.T) {
	h := newHeap(t)
	conn := structType(h, "main.conn", 64)
	call := h.typ(heapgraph.Type{Name: "func main.dial.func1", Kind: heapgraph.KindFunc, Size: 16})
	timer := structType(h, "time.Timer", 96)
	index, heapOf := h.new(0, 8*100), h.new(h.typ(heapgraph.Type{Name: "runtime.timerWhen", Kind: heapgraph.KindStruct, Size: 16}), 16*100)
	for i := range uint64(100) {
		o := h.new(conn, 64)
		h.sample(o, 64, "main.dial")
		heapOf.set(16*i, h.new(timer, 96, h.new(call, 16, o)))
		index.set(8*i, o)
	}
	server := h.new(structType(h, "main.server", 64), 64, h.new(0, 48, h.new(0, 48, h.new(0, 48, index))))
	ps := h.new(structType(h, "runtime.p", 512), 512, heapOf, server)
	h.root(heapgraph.Root{Kind: heapgraph.Other, Name: "runtime.allp"}, ps)
	r := h.analyse()
	var path []string
	for _, s := range r.Sites[0].Holders[0].Path {
		path = append(path, s.Type)
	}
	want := []string{"runtime.p", "[]runtime.timerWhen", "time.Timer", "func main.dial.func1", "main.conn"}
	if !slices.Equal(path, want) {
		t.Errorf("the way is %q, want %q", path, want)
	}
}
