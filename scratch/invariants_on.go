//go:build heapwright_invariants

package scratch

import (
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"weak"
)

// invariants says whether misuse is looked for.
const invariants = true

// poisonByte is what bytes are filled with that were given back; other values are
// zero.
const poisonByte = 0xDB

// stale has the chunks that a slab was given back, until it is seen at the next Reset
// that nobody wrote to them.
type stale[T any] struct {
	left  [][]T // of this request
	old   [][]T // of the one before
	reset []uintptr
}

// leave notes a chunk of this request.
func (s *stale[T]) leave(chunk []T) {
	if len(chunk) > 0 {
		s.left = append(s.left, chunk)
	}
}

// check looks at the chunks of the request before, and poisons those of this one.
func (s *stale[T]) check() {
	for _, chunk := range s.old {
		for i := range chunk {
			if !untouched(&chunk[i]) {
				panic(fmt.Sprintf("scratch: a %T was written after the Reset of its slab at\n%s", chunk[i], frames(s.reset)))
			}
		}
	}
	for _, chunk := range s.left {
		clear(chunk)
		if b, ok := any(chunk).([]byte); ok {
			for i := range b {
				b[i] = poisonByte
			}
		}
	}
	s.old, s.left = s.left, nil
	var pcs [24]uintptr
	s.reset = append([]uintptr(nil), pcs[:runtime.Callers(3, pcs[:])]...)
}

func untouched[T any](v *T) bool {
	if b, ok := any(v).(*byte); ok {
		return *b == poisonByte
	}
	return reflect.ValueOf(v).Elem().IsZero()
}

// idle has what lies in a pool.
type idle[R any] struct {
	mu sync.Mutex
	in map[weak.Pointer[R]]struct{}
}

func (d *idle[R]) took(r *R) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.in, weak.Make(r))
}

func (d *idle[R]) put(r *R) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := weak.Make(r)
	if _, there := d.in[w]; there {
		panic(fmt.Sprintf("scratch: a %T was put back twice", r))
	}
	if len(d.in) >= 1024 { // of which most were collected
		for w := range d.in {
			if w.Value() == nil {
				delete(d.in, w)
			}
		}
	}
	if d.in == nil {
		d.in = map[weak.Pointer[R]]struct{}{}
	}
	d.in[w] = struct{}{}
}

// frames writes a stack as a panic does.
func frames(pcs []uintptr) string {
	text := ""
	next := runtime.CallersFrames(pcs)
	for {
		f, more := next.Next()
		text += fmt.Sprintf("%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return text
		}
	}
}
