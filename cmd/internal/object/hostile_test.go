package object

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// captured is a runtime whose memory was recorded while its heap was read.
type captured struct {
	Runtime
	mem procmem.Memory
}

func (c captured) Memory() procmem.Memory { return c.mem }

// ranges remembers what is read.
type ranges struct {
	procmem.Recorder
	list []procmem.Request
}

func (r *ranges) Read(addr uint64, buf []byte) error {
	err := r.Recorder.Read(addr, buf)
	if err == nil {
		r.list = append(r.list, procmem.Request{Addr: addr, Buf: slices.Clone(buf)})
	}
	return err
}

func (r *ranges) ReadBatch(reqs []procmem.Request) (int, error) {
	n, err := r.Recorder.ReadBatch(reqs)
	for _, q := range reqs[:n] {
		r.list = append(r.list, procmem.Request{Addr: q.Addr, Buf: slices.Clone(q.Buf)})
	}
	return n, err
}

// changed is memory in which some words are others.
type changed struct {
	procmem.Memory
	words map[uint64]uint64 // by address, aligned
}

func (c changed) Read(addr uint64, buf []byte) error {
	if err := c.Memory.Read(addr, buf); err != nil {
		return err
	}
	var b [8]byte
	for at, v := range c.words {
		binary.LittleEndian.PutUint64(b[:], v)
		for i := range b {
			if k := at + uint64(i) - addr; k < uint64(len(buf)) {
				buf[k] = b[i]
			}
		}
	}
	return nil
}

func (c changed) ReadBatch(reqs []procmem.Request) (int, error) {
	for i, q := range reqs {
		if err := c.Read(q.Addr, q.Buf); err != nil {
			return i, err
		}
	}
	return len(reqs), nil
}

// capture records a small heap and returns what is needed to read it again, and
// some of the words that matter.
func capture(t testing.TB, release string) (captured, []uint64, []uint64) {
	s := startShapes(t, build(t, release, nil, "-ldflags=-s -w"), "20", "1")
	tg := s.attach()
	rec := &ranges{Recorder: procmem.Recorder{Memory: tg.Memory(), Image: procmem.NewImage()}}
	whole := walkHeap(t, captured{tg, rec}, Options{})
	var places, values []uint64
	for _, q := range rec.list {
		for i := 0; i+8 <= len(q.Buf); i += 8 {
			if v := binary.LittleEndian.Uint64(q.Buf[i:]); v != 0 {
				places = append(places, q.Addr+uint64(i))
				if v > 1<<16 {
					values = append(values, v)
				}
			}
		}
	}
	slices.Sort(places)
	places = slices.Compact(places)
	again := captured{tg, rec.Image}
	h := walkHeap(t, again, Options{})
	// What was read twice was recorded as it was the second time.
	if d := h.EdgeCount() - whole.EdgeCount(); h.LiveObjects != whole.LiveObjects || d < -64 || d > 64 || h.LiveObjects < 20000 {
		t.Fatalf("the recording has %d objects and %d references, the process %d and %d",
			h.LiveObjects, h.EdgeCount(), whole.LiveObjects, whole.EdgeCount())
	}
	return again, places, values
}

// try reads a heap in which some words are others.
func try(t testing.TB, c captured, words map[uint64]uint64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.mem = changed{c.mem, words}
	g, _, err := Walk(context.Background(), c, Options{MaxMemory: 64 << 20})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
		t.Errorf("took %d MiB for %v", n>>20, words)
	}
	if err != nil {
		var missing *MissingError
		var bad *ImplausibleError
		var large *heapgraph.TooLargeError
		var mem *procmem.Error
		if !errors.As(err, &missing) && !errors.As(err, &bad) && !errors.As(err, &large) && !errors.As(err, &mem) {
			t.Errorf("for %v: %v", words, err)
		}
		return
	}
	if _, err := heapgraph.Dominators(context.Background(), g); err != nil {
		t.Errorf("dominators for %v: %v", words, err)
	}
}

func mutate(rng *rand.Rand, places, values []uint64, n int) map[uint64]uint64 {
	words := map[uint64]uint64{}
	for range n {
		v := rng.Uint64()
		switch rng.IntN(6) {
		case 0:
			v >>= rng.IntN(64)
		case 1, 2:
			v = values[rng.IntN(len(values))]
		case 3:
			v = values[rng.IntN(len(values))] + uint64(rng.IntN(64)) - 32
		case 4:
			v = 1<<rng.IntN(64) - uint64(rng.IntN(2))
		}
		words[places[rng.IntN(len(places))]] = v
	}
	return words
}

func TestHostile(t *testing.T) {
	for _, release := range []string{"", "go1.20.14", "go1.23.12"} {
		t.Run("go"+release, func(t *testing.T) {
			c, places, values := capture(t, release)
			rng := rand.New(rand.NewPCG(7, uint64(len(release))))
			rounds := 15
			if testing.Short() {
				rounds = 5
			}
			for range rounds {
				try(t, c, mutate(rng, places, values, 1+rng.IntN(200)))
			}
		})
	}
}

func FuzzWalk(f *testing.F) {
	c, places, values := capture(f, "")
	f.Add(uint64(1), uint64(0), uint64(0), uint16(3))
	f.Add(uint64(2), ^uint64(0), uint64(1)<<47, uint16(0))
	f.Fuzz(func(t *testing.T, seed, place, value uint64, n uint16) {
		words := mutate(rand.New(rand.NewPCG(seed, seed)), places, values, int(n%256))
		words[places[place%uint64(len(places))]] = value
		try(t, c, words)
	})
}
