//go:build !heapwright_invariants

package scratch

// invariants says whether misuse is looked for.
const invariants = false

// stale and idle take no room in this build.
type (
	stale[T any] struct{}
	idle[R any]  struct{}
)

func (stale[T]) leave([]T) {}

func (stale[T]) check() {}

func (*idle[R]) took(*R) {}

func (*idle[R]) put(*R) {}
