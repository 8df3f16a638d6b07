//go:build heapwright_invariants

package buffer

import (
	"bytes"
	"fmt"
)

// invariants says whether misuse is looked for.
const invariants = true

// poisonByte is what a released buffer is filled with.
const poisonByte = 0xDB

// A trail is where a lease was taken, and where it was released. All copies of the
// lease share it.
type trail struct{ *stacks }

type stacks struct{ get, release []uintptr }

func newTrail() trail { return trail{&stacks{get: callers(4)}} }

func (t trail) released() { t.release = callers(4) }

// poison remembers who released a buffer that is filled with poisonByte.
type poison struct{ by []uintptr }

func (p *poison) spread(mem []byte) {
	if len(mem) > 0 {
		mem[0] = poisonByte
	}
	for n := 1; n < len(mem); n *= 2 {
		copy(mem[n:], mem[:n])
	}
	p.by = callers(4)
}

func (p *poison) check(mem []byte) {
	if p.by == nil || len(mem) == 0 || mem[0] == poisonByte && bytes.Equal(mem[1:], mem[:len(mem)-1]) {
		p.by = nil
		return
	}
	for i, b := range mem {
		if b != poisonByte {
			panic(fmt.Sprintf("buffer: byte %d of %d was written after the release of the buffer, which was at\n%s", i, len(mem), frames(p.by)))
		}
	}
}

// check panics if the lease was released before.
func (l *Lease) check(what string) {
	if l.block == nil || l.block.turn.Load() == l.turn {
		return
	}
	panic(fmt.Sprintf("buffer: %s of a lease that was released at\n%s\nand was taken at\n%s\nnow at\n%s",
		what, frames(l.trail.release), frames(l.trail.get), frames(callers(3))))
}
