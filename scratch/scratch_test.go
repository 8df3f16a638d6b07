package scratch

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// TestMake: slices are zero, apart, and bounded, whatever is asked for.
func TestMake(t *testing.T) {
	var s Slab[int]
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var have [][]int
		for i := range 200 {
			n := rng.IntN(100)
			if rng.IntN(50) == 0 {
				n = rng.IntN(100_000)
			}
			v := s.Make(n)
			if len(v) != n || cap(v) != n {
				t.Fatalf("len %d, cap %d, want %d", len(v), cap(v), n)
			}
			for j := range v {
				if v[j] != 0 {
					t.Fatal("not zero")
				}
				v[j] = i
			}
			_ = append(v, -1)
			have = append(have, v)
		}
		for i, v := range have {
			if slices.ContainsFunc(v, func(x int) bool { return x != i }) {
				t.Fatalf("slice %d was overwritten", i)
			}
		}
		s.Reset()
		if cap(s.chunk)*8 > mostChunk {
			t.Fatalf("%d values are kept", cap(s.chunk))
		}
	}
	if v := s.Make(-1); len(v) != 0 {
		t.Errorf("%d values of a negative number", len(v))
	}
}

func TestPointersAreSeen(t *testing.T) {
	type tree struct {
		left, right *tree
		n           *int
	}
	var s Slab[tree]
	for range 5 {
		var build func(depth int) *tree
		build = func(depth int) *tree {
			v := s.New()
			if v.left != nil || v.n != nil {
				t.Fatal("not zero")
			}
			v.n = new(int)
			*v.n = depth
			if depth > 0 {
				v.left, v.right = build(depth-1), build(depth-1)
			}
			return v
		}
		root := build(10)
		runtime.GC()
		var sum func(v *tree, depth int)
		sum = func(v *tree, depth int) {
			if *v.n != depth {
				t.Fatalf("%d, want %d", *v.n, depth)
			}
			if depth > 0 {
				sum(v.left, depth-1)
				sum(v.right, depth-1)
			}
		}
		sum(root, 10)
		s.Reset()
	}
}

func TestClone(t *testing.T) {
	var s Slab[byte]
	src := []byte("abc")
	c := s.Clone(src)
	src[0] = 'x'
	if string(c) != "abc" {
		t.Errorf("%q", c)
	}
}

func TestZeroSized(t *testing.T) {
	var s Slab[struct{}]
	if v := s.Make(5); len(v) != 5 {
		t.Errorf("%d values", len(v))
	}
	s.Reset()
}

func TestLargeTypes(t *testing.T) {
	var s Slab[[3 << 20]byte]
	s.New()[1] = 1
	s.Reset()
	if s.New()[1] != 0 {
		t.Error("not zero")
	}
}

func TestPool(t *testing.T) {
	type request struct {
		ints Slab[int]
		text Slab[byte]
	}
	p := NewPool(func(r *request) { r.ints.Reset(); r.text.Reset() })
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 500 {
				r := p.Get()
				a, b := r.ints.Make(20), r.text.Make(30)
				for i := range a {
					if a[i] != 0 || b[i] != 0 {
						t.Error("not zero")
					}
					a[i], b[i] = g, byte(g)
				}
				for i := range a {
					if a[i] != g || b[i] != byte(g) {
						t.Error("shared with another request")
					}
				}
				p.Put(r)
			}
		}()
	}
	wg.Wait()
}
