package retention

import (
	"slices"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

func kindsOfHints(r *Report) []string {
	var out []string
	for _, h := range r.Hints {
		out = append(out, h.Kind)
	}
	return out
}

func hintOf(t *testing.T, r *Report, kind string) *Hint {
	t.Helper()
	for i := range r.Hints {
		if r.Hints[i].Kind == kind {
			return &r.Hints[i]
		}
	}
	t.Fatalf("no hint of %s among %v", kind, kindsOfHints(r))
	return nil
}

func structType(h *heap, name string, size uint64, fields ...heapgraph.Field) heapgraph.TypeID {
	return h.typ(heapgraph.Type{Name: name, Kind: heapgraph.KindStruct, Size: size, Fields: fields})
}

// refer stores a slice header, or a string's where capacity is 0.
func refer(o *object, off uint64, to *object, inside, length, capacity uint64) {
	o.setAt(off, to, inside).word(off+8, length)
	if capacity > 0 {
		o.word(off+16, capacity)
	}
}

func TestHintsOfWindows(t *testing.T) {
	const n = 100
	byteType := heapgraph.Type{Name: "uint8", Kind: heapgraph.KindBytes, Size: 1}
	for _, c := range []struct {
		want  string
		build func(h *heap)
	}{
		{"sub-slice", func(h *heap) {
			tokens := h.new(h.typ(heapgraph.Type{Name: "[]uint8", Kind: heapgraph.KindArray, Size: 24}), n*24)
			for i := range uint64(n) {
				refer(tokens, i*24, h.bytes(16<<10), 0, 32, 16<<10)
			}
			h.global("main.tokens", tokens)
		}},
		{"sub-slice", func(h *heap) { // by a field, from the middle
			b := h.typ(byteType)
			m := structType(h, "main.message", 32, heapgraph.Field{Name: "id", Offset: 8, Size: 24, Kind: heapgraph.FieldSlice, Elem: b})
			all := h.new(h.typ(heapgraph.Type{Name: "*main.message", Kind: heapgraph.KindPointers, Size: 8}), n*8)
			for i := range uint64(n) {
				o := h.new(m, 32)
				refer(o, 8, h.bytes(8192), 100, 16, 8000)
				all.set(i*8, o)
			}
			h.global("main.messages", all)
		}},
		{"substring", func(h *heap) {
			users := h.new(h.typ(heapgraph.Type{Name: "string", Kind: heapgraph.KindArray, Size: 16}), n*16)
			for i := range uint64(n) {
				refer(users, i*16, h.bytes(8192), 9, 8, 0)
			}
			h.global("main.users", users)
		}},
		{"append-aliasing", func(h *heap) {
			record := h.typ(heapgraph.Type{Name: "main.record", Kind: heapgraph.KindStruct, Size: 64})
			all := h.new(h.typ(heapgraph.Type{Name: "[]main.record", Kind: heapgraph.KindArray, Size: 24}), n*24)
			for i := range uint64(n) {
				refer(all, i*24, h.new(record, 256*64), 0, 2, 256)
			}
			h.global("main.summaries", all)
		}},
		{"buffer-never-shrinks", func(h *heap) {
			b := h.typ(byteType)
			device := structType(h, "main.device", 48, heapgraph.Field{Name: "inbox.buf", Size: 24, Kind: heapgraph.FieldSlice, Elem: b})
			all := h.new(device, n*48)
			for i := range uint64(n) {
				refer(all, i*48, h.bytes(60<<10), 0, 200, 60<<10)
			}
			h.global("main.devices", all)
		}},
		{"", func(h *heap) { // all of them used, by two slices each
			all := h.new(h.typ(heapgraph.Type{Name: "[]uint8", Kind: heapgraph.KindArray, Size: 24}), n*48)
			for i := range uint64(n) {
				b := h.bytes(8192)
				refer(all, i*48, b, 0, 4000, 8192)
				refer(all, i*48+24, b, 3000, 5000, 5192)
			}
			h.global("main.buffers", all)
		}},
		{"", func(h *heap) { // a pointer without a length
			all := h.new(h.typ(heapgraph.Type{Name: "*uint8", Kind: heapgraph.KindPointers, Size: 8}), n*8)
			for i := range uint64(n) {
				all.set(i*8, h.bytes(8192))
			}
			h.global("main.buffers", all)
		}},
		{"", func(h *heap) { // a goroutine has one too, and may use all of it
			all := h.new(h.typ(heapgraph.Type{Name: "[]uint8", Kind: heapgraph.KindArray, Size: 24}), n*24)
			for i := range uint64(n) {
				b := h.bytes(8192)
				refer(all, i*24, b, 0, 10, 8192)
				h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.worker"}, b)
			}
			h.global("main.buffers", all)
		}},
		{"", func(h *heap) { // elements of a size that is not known
			all := h.new(h.typ(heapgraph.Type{Name: "[]int64", Kind: heapgraph.KindArray, Size: 24}), n*24)
			for i := range uint64(n) {
				refer(all, i*24, h.bytes(8192), 0, 1024, 1024)
			}
			h.global("main.numbers", all)
		}},
	} {
		h := newHeap(t)
		c.build(h)
		r := h.analyse()
		got := slices.DeleteFunc(kindsOfHints(r), func(k string) bool { return k == "slice-unbounded" })
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("hints %v, want %q", got, c.want)
			continue
		}
		if c.want != "" {
			if k := hintOf(t, r, c.want); k.Bytes < r.LiveBytes*8/10 || k.Bytes > r.LiveBytes || k.Values["used_share"] > 0.05 || k.Root.Name == "" {
				t.Errorf("%s: %+v of %d bytes", c.want, k, r.LiveBytes)
			}
		}
	}
}

func TestHintMapNeverShrinks(t *testing.T) {
	h := newHeap(t)
	h.global("main.tenants", h.swissMap("map[int]*main.order", 8, 128, 10, h.bytes(64), h.bytes(64)))
	k := hintOf(t, h.analyse(), "map-never-shrinks")
	if k.Values["room"] != 8192 || k.Values["entries"] != 10 || k.Bytes < 130_000 || k.Root.Name != "main.tenants" {
		t.Errorf("%+v", k)
	}
	full := newHeap(t)
	full.global("main.orders", full.swissMap("map[int]*main.order", 8, 128, 5000))
	if got := kindsOfHints(full.analyse()); slices.Contains(got, "map-never-shrinks") {
		t.Errorf("a map that is in use: %v", got)
	}
}

func TestHintMapOfOldReleases(t *testing.T) {
	h := newHeap(t)
	bucket := h.typ(heapgraph.Type{Name: "map.bucket[int]int", Kind: heapgraph.KindMapGroups, Size: 144})
	m := h.new(h.typ(heapgraph.Type{Name: "map[int]int", Kind: heapgraph.KindMap, Size: 48}), 48)
	m.word(0, 10).word(8, 10<<8).set(16, h.new(bucket, 1024*144))
	h.global("main.counts", m)
	k := hintOf(t, h.analyse(), "map-never-shrinks")
	if k.Values["room"] != 8192 || k.Bytes < 140_000 {
		t.Errorf("%+v", k)
	}
}

func TestHintsOfCrowds(t *testing.T) {
	pointers := func(h *heap, n int) *object {
		return h.new(h.typ(heapgraph.Type{Name: "*main.x", Kind: heapgraph.KindPointers, Size: 8}), uint64(n)*8)
	}
	for _, c := range []struct {
		want  string
		build func(h *heap)
	}{
		{"timer-forgotten", func(h *heap) {
			timers := pointers(h, 2000)
			timer := h.typ(heapgraph.Type{Name: "time.Timer", Kind: heapgraph.KindTimer, Size: 104})
			for i := range uint64(2000) {
				timers.set(i*8, h.new(timer, 104, h.bytes(2048)))
			}
			h.root(heapgraph.Root{Kind: heapgraph.Other, Name: "timers"}, timers)
		}},
		{"channel-backlog", func(h *heap) {
			jobs := pointers(h, 5000)
			for i := range uint64(5000) {
				jobs.set(i*8, h.bytes(64))
			}
			c := h.new(h.typ(heapgraph.Type{Name: "chan *main.job", Kind: heapgraph.KindChan}), 96).word(0, 5000).word(8, 5000).set(16, jobs)
			h.global("main.outbox", c)
		}},
		{"context-values", func(h *heap) {
			ctx := structType(h, "context.valueCtx", 48)
			last := h.new(ctx, 48)
			for range 5000 {
				last = h.new(ctx, 48, last, h.bytes(400))
			}
			h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.main"}, last)
		}},
		{"context-not-cancelled", func(h *heap) {
			ctx := structType(h, "context.cancelCtx", 96)
			var all []*object
			for range 3000 {
				all = append(all, h.new(ctx, 96))
			}
			h.global("main.server", h.new(ctx, 96, h.swissMap("map[context.canceler]struct {}", 4, 128, 3000, all...)))
		}},
		{"defer-in-loop", func(h *heap) {
			d := structType(h, "runtime._defer", 64)
			last := h.new(d, 64)
			for range 2000 {
				last = h.new(d, 64, last)
			}
			h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "main.consume"}, last)
		}},
		{"finalizer-chain", func(h *heap) {
			page := structType(h, "main.page", 416)
			for range 20 {
				last := h.new(page, 416)
				for range 100 {
					last = h.new(page, 416, last)
				}
				h.root(heapgraph.Root{Kind: heapgraph.Finalizer, Name: "main.(*page).close"}, last)
			}
		}},
		{"pool-hoard", func(h *heap) {
			local := h.new(h.typ(heapgraph.Type{Name: "sync.poolLocal", Kind: heapgraph.KindStruct, Size: 128}), 256)
			for i := range uint64(30) {
				local.set(i*8, h.new(structType(h, "bytes.Buffer", 40), 40, h.bytes(128<<10)))
			}
			h.global("main.buffers", local)
		}},
		{"body-not-closed", func(h *heap) {
			conns := pointers(h, 300)
			conn := structType(h, "net/http.persistConn", 512)
			for i := range uint64(300) {
				conns.set(i*8, h.new(conn, 512, h.bytes(4096)))
			}
			h.root(heapgraph.Root{Kind: heapgraph.Stack, Name: "net/http.(*persistConn).readLoop"}, conns)
		}},
		{"callbacks-never-removed", func(h *heap) {
			fn := h.typ(heapgraph.Type{Name: "func main.serve.func1", Kind: heapgraph.KindFunc})
			list := h.new(h.typ(heapgraph.Type{Name: "func(int)", Kind: heapgraph.KindPointers, Size: 8}), 4000)
			for i := range uint64(500) {
				list.set(i*8, h.new(fn, 16).set(8, h.bytes(4096)))
			}
			h.global("main.settings", list)
		}},
		{"list-unbounded", func(h *heap) {
			element := structType(h, "container/list.Element", 48)
			last := h.new(element, 48)
			for range 3000 {
				last = h.new(element, 48, last)
			}
			h.global("main.recent", h.new(structType(h, "container/list.List", 56), 56, last))
		}},
		{"syncmap-unbounded", func(h *heap) {
			entry := structType(h, "internal/sync.entry[interface {},interface {}]", 64)
			node := structType(h, "internal/sync.indirect[interface {},interface {}]", 168)
			top := h.new(node, 168)
			for i := range uint64(16) {
				below := h.new(node, 2048)
				for j := range uint64(100) {
					below.set(j*8, h.new(entry, 64, h.bytes(256)))
				}
				top.set(i*8, below)
			}
			h.global("main.pages", h.new(structType(h, "internal/sync.HashTrieMap[interface {},interface {}]", 48), 48, top))
		}},
		{"string-interning", func(h *heap) {
			m := h.swissMap("map[string]string", 4, 500, 2000)
			h.typ(heapgraph.Type{Name: "x"})
			var groups []*object
			for _, o := range h.objects {
				if o.typ == h.types["map.group[map[string]string]"] {
					groups = append(groups, o)
				}
			}
			for _, g := range groups {
				for i := range uint64(500) {
					s := h.bytes(256)
					refer(g, i*32+8, s, 0, 250, 0)
					refer(g, i*32+24, s, 0, 250, 0)
				}
			}
			h.global("main.interned", m)
		}},
	} {
		h := newHeap(t)
		c.build(h)
		r := h.analyse()
		k := hintOf(t, r, c.want)
		if k.Bytes == 0 || k.Bytes > r.LiveBytes || k.Root.Name == "" || k.Text == "" {
			t.Errorf("%s: %+v", c.want, k)
		}
	}
}

// A heap as it should be has no hints but of what holds the most.
func TestNoHints(t *testing.T) {
	for _, k := range sessions(t, 2000).analyse().Hints {
		if k.Kind != "map-unbounded" {
			t.Errorf("%+v", k)
		}
	}
}
