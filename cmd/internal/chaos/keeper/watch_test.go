package keeper

import (
	"testing"
	"time"
)

// TestStalled: while the machine stood still nobody could say a word, and nobody is taken
// for dead for that.
func TestStalled(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct {
		last, now int64
		want      time.Duration
	}{
		{0, 100 * second, 0}, // the first look
		{second, second + int64(tick), 0},
		{second, second + int64(late), 0},
		{second, 2*second + second/2, 1500*time.Millisecond - tick},
		{second, 60 * second, DefaultLease},
		{2 * second, second, 0},
	} {
		if got := stalled(c.last, c.now); got != c.want {
			t.Errorf("from %d to %d: %v, want %v", c.last, c.now, got, c.want)
		}
	}
}
