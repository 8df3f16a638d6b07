package keeper

import (
	"os"
	"runtime"
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

// TestStarving: a tool that waits for a CPU is waited for, for five leases; one that is
// stopped, hangs, or is gone is not.
func TestStarving(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name   string
		views  []wait
		silent time.Duration
		want   bool
	}{
		{"starved", []wait{{0, 0}, {int64(second), 900 * time.Millisecond}}, 2 * second, true},
		{"starved for long", []wait{{0, 0}, {int64(second), 3 * second}}, 9 * second, true},
		{"for too long", []wait{{0, 0}, {int64(second), 3 * second}}, 11 * second, false},
		{"stopped", []wait{{0, 5 * second}, {int64(second), 5 * second}}, 2 * second, false},
		{"waited a little", []wait{{0, 0}, {int64(second), 100 * time.Millisecond}}, 2 * second, false},
		{"not looked at for long enough", []wait{{0, 0}, {int64(second / 2), second}}, 2 * second, false},
		{"looked at once", []wait{{0, 0}}, 2 * second, false},
		{"never looked at", nil, 2 * second, false},
		{"threads have ended meanwhile", []wait{{0, 9 * second}, {int64(second), second}}, 2 * second, false},
	} {
		if got := (&starving{c.views}).excused(c.silent, DefaultLease); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestStarvingLooks: what is looked at is a silence, the last second of it and a little
// more, however long it lasts.
func TestStarvingLooks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	if _, ok := waitedForCPU(os.Getpid()); !ok {
		t.Skip("needs a kernel that keeps schedstat")
	}
	var v starving
	for n := range 1000 {
		v.look(os.Getpid(), int64(time.Duration(n)*tick), time.Duration(n)*tick)
	}
	if first, last := v.views[0].at, v.views[len(v.views)-1].at; last-first < int64(starvedOver) || last-first > int64(starvedOver+tick) {
		t.Errorf("it has views of %v", time.Duration(last-first))
	}
	if v.look(os.Getpid(), 0, 0); len(v.views) != 0 {
		t.Error("who speaks is looked at")
	}
	v.look(os.Getpid(), 0, time.Second)
	if v.look(1<<30, 0, time.Second); len(v.views) != 0 {
		t.Error("there are views of nobody")
	}
}
