package profile

import (
	"sync"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
)

const maxSymbols = 1 << 15

// A symbolizer expands program counters and remembers them. The snapshots of a
// Walker share it, so it may be used concurrently.
type symbolizer struct {
	t     *pclntab.Table
	mu    sync.Mutex
	cache map[symbolKey]symbol
}

type symbolKey struct {
	pc     uint64
	callee pclntab.Callee
}

type symbol struct {
	frames []pclntab.Frame
	callee pclntab.Callee // for the caller's frame
}

func newSymbolizer(t *pclntab.Table) *symbolizer {
	return &symbolizer{t: t, cache: make(map[symbolKey]symbol)}
}

// unwound returns the frames at a return address of an unwound stack, and the
// callee for the next one.
func (s *symbolizer) unwound(pc uint64, callee pclntab.Callee) ([]pclntab.Frame, pclntab.Callee) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := symbolKey{pc, callee}
	e, ok := s.cache[k]
	if !ok {
		e.frames, e.callee = s.t.Expand(nil, pc, true, callee)
		if len(s.cache) >= maxSymbols {
			clear(s.cache)
		}
		s.cache[k] = e
	}
	return e.frames, e.callee
}

// recorded returns the frames at a return address that the runtime recorded.
func (s *symbolizer) recorded(pc uint64) []pclntab.Frame {
	if pc == 0 {
		return nil
	}
	frames, _ := s.unwound(pc, pclntab.Recorded)
	return frames
}
