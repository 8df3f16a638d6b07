package oom

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cgroup"
)

// TestLive makes a group, fills it, and hears of it: bells, room and the kernel's log.
func TestLive(t *testing.T) {
	g, err := cgroup.Self()
	if err != nil {
		t.Skip("needs cgroups:", err)
	}
	dirs, version, err := g.Dirs("memory")
	if err != nil || version != 1 {
		t.Skipf("needs the memory controller of cgroup v1: version %d, %v", version, err)
	}
	dir, err := os.MkdirTemp(dirs[0], "heapwright-oom-")
	if err != nil {
		t.Skip("needs to make a memory cgroup:", err)
	}
	t.Cleanup(func() {
		// The kernel takes a moment to let go of who was killed.
		for range 100 {
			if os.Remove(dir) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("the cgroup could not be removed")
	})
	const limit = 24 << 20
	if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Skip("needs to limit a memory cgroup:", err)
	}
	log, err := OpenLog(LogOptions{})
	if err != nil {
		t.Skip("needs the kernel's log:", err)
	}
	defer log.Close()
	r, err := OpenRoom(append([]string{dir}, dirs...), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	levels, err := r.Levels(nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := levels[0]; l.Limit != limit || l.Left() > limit {
		t.Errorf("level %+v", l)
	}
	b, err := NewBells()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if kinds := b.Hang("it", levels, 1); strings.Join(kinds, " ") != "threshold pressure oom" {
		t.Errorf("bells for %q", kinds)
	}
	if err := b.HangHost(); err != nil {
		t.Log("no pressure of the host:", err)
	}

	// A shell that keeps what it reads grows until it is killed.
	script := filepath.Join(t.TempDir(), "grow")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $$ > "+dir+"/cgroup.procs || exit 3\nx=0123456789abcdef\nwhile :; do x=$x$x; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(script, []string{script}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var kill Kill
	for kill.PID != p.Pid {
		if kill, err = log.Next(ctx); err != nil {
			p.Kill()
			t.Fatal(err)
		}
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(kill.TaskGroup, filepath.Base(dir)) || kill.AnonRSSBytes == 0 || time.Since(kill.Time) > 10*time.Second {
		t.Errorf("kill %+v", kill)
	}
	if !kill.Bare && (kill.LimitBytes != limit || len(kill.Tasks) == 0 || len(kill.Parts) == 0) {
		t.Errorf("kill %+v", kill)
	}
	if n, ok := r.Kills(); !ok || n != 1 {
		t.Errorf("%d kills, %v", n, ok)
	}
	rang := map[RingKind]int{}
	for done := false; !done; {
		select {
		case ring := <-b.C():
			rang[ring.Kind]++
		case <-time.After(50 * time.Millisecond):
			done = true
		}
	}
	if rang[RingThreshold] == 0 || rang[RingOOM] == 0 {
		t.Errorf("bells rang: %v", rang)
	}
	t.Log(rang, "after", time.Since(kill.Time), "kill bare:", kill.Bare)
	if _, _, err := r.Parts(dir); err != nil {
		t.Error(err)
	}
}

// Who cannot read the log is told what to do.
func TestOpenLogNone(t *testing.T) {
	_, err := OpenLog(LogOptions{Path: filepath.Join(t.TempDir(), "kmsg")})
	var e *LogError
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "/dev/kmsg") || !strings.Contains(e.Hint(), "counters") {
		t.Errorf("error %v", err)
	}
}

func BenchmarkLevels(b *testing.B) {
	g, err := cgroup.Self()
	if err != nil {
		b.Skip("needs cgroups:", err)
	}
	dirs, version, err := g.Dirs("memory")
	if err != nil {
		b.Skip("needs the memory controller:", err)
	}
	r, err := OpenRoom(dirs, version)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var levels []Level
	b.Run("levels", func(b *testing.B) {
		for b.Loop() {
			if levels, err = r.Levels(levels[:0]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(levels)), "levels")
	})
	b.Run("parts", func(b *testing.B) {
		for b.Loop() {
			if _, _, err = r.Parts(levels[0].Dir); err != nil {
				b.Fatal(err)
			}
		}
	})
}
