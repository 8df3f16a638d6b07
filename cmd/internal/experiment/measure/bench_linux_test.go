package measure

import (
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

// BenchmarkRead is what one reading costs: twenty of them a second are what a
// watch takes from the machine that it measures on.
func BenchmarkRead(b *testing.B) {
	child := targettest.Start(b, targettest.Build(b, targettest.Local))
	target, err := process.Attach(b.Context(), child.PID())
	if err != nil {
		b.Fatal(err)
	}
	defer target.Close()
	w := &Watch{target: target, window: &Raw{}}
	var s record.Sample
	b.ReportAllocs()
	for b.Loop() {
		if err := w.read(&s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkValues is of a window of ten seconds.
func BenchmarkValues(b *testing.B) {
	raw := window()
	b.ReportAllocs()
	for b.Loop() {
		Values(raw, 1000, 10)
	}
}
