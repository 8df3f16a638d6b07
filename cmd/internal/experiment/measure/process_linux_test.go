package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/pacer"
)

func TestMain(m *testing.M) {
	code := m.Run()
	targettest.Cleanup()
	os.Exit(code)
}

// TestProcess holds the values of a window against what the program's own runtime
// said of itself before and after it.
func TestProcess(t *testing.T) {
	for _, version := range []string{targettest.Local, "go1.21.13", "go1.27.4"} {
		name := version
		if version == targettest.Local {
			name = "local"
		}
		t.Run(name, func(t *testing.T) {
			target := targettest.Start(t, targettest.Build(t, version), "GOGC=100")
			w, err := Begin(t.Context(), target.PID(), 100)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			warm := make(chan error, 1)
			go func() {
				_, err := w.Warm(t.Context(), 0, time.Minute)
				warm <- err
			}()
			for done := false; !done; {
				target.Ask(t, "burn 100000 1000")
				select {
				case err := <-warm:
					if done = true; err != nil || !w.Settled() {
						t.Fatalf("settled %v: %v", w.Settled(), err)
					}
				default:
				}
			}
			// No cycle runs at the edges, which would end between a look and the books.
			// Reading its books stops the world of the program, and allocates: the
			// window lies between, so that the truth is what burn did.
			target.Ask(t, "gc")
			before := target.Books(t)
			if err := w.Start(); err != nil {
				t.Fatal(err)
			}
			for range 12 {
				target.Ask(t, "burn 50000 1000")
				time.Sleep(50 * time.Millisecond)
			}
			target.Ask(t, "gc")
			raw, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			after := target.Books(t)

			const requests = 600_000
			values, pauses, marks, levels := Values(raw, requests, raw.Span().Seconds())
			grew := func(name string) float64 { return after[name] - before[name] }
			near := func(name string, want, within float64) {
				t.Helper()
				if got, ok := values[name]; !ok || math.Abs(got-want) > within {
					t.Errorf("%s is %v (there: %v), want %v ± %v", name, got, ok, want, within)
				}
			}
			// The books are read after the window, and what they take is in theirs.
			near("alloc_bytes_per_request", grew("TotalAlloc")/requests, 0.01*1024)
			near("alloc_objects_per_request", grew("Mallocs")/requests, 0.01)
			cycles := int(grew("NumGC"))
			if cycles < 3 || cycles > 200 {
				t.Fatalf("%d cycles: the test wants some, and all in the ring", cycles)
			}
			near("gc_cycles_per_second", float64(cycles)/raw.Span().Seconds(), 1e-9)
			if len(pauses) != cycles || len(marks) != cycles || raw.Lost != 0 {
				t.Fatalf("%d pauses, %d marks, %d lost, of %d cycles", len(pauses), len(marks), raw.Lost, cycles)
			}
			for i, p := range pauses {
				n := int(before["NumGC"]) + i
				if want := after[fmt.Sprintf("PauseNs[%d]", n%256)] / 1e9; math.Abs(p-want) > 1e-12 {
					t.Errorf("cycle %d paused for %v s, the program says %v", n+1, p, want)
				}
			}
			inGC := grew("PauseTotalNs") / 1e9
			stopped, ok := values["stw_seconds_per_minute"]
			if version == "go1.21.13" {
				if ok {
					t.Errorf("stopped %v s a minute, by a runtime that does not know all of its stops", stopped)
				}
			} else if least := inGC / raw.Span().Seconds() * 60; !ok || stopped < least-1e-9 || stopped > least+6 {
				t.Errorf("stopped %v s a minute (there: %v), at least %v by pauses", stopped, ok, least)
			}

			// The classes of the program's own are brought up to date when they are
			// read, ours when a cycle ends: the same ratio, over nearly the same time.
			ratio := grew("/cpu/classes/gc/total:cpu-seconds") / grew("/cpu/classes/total:cpu-seconds")
			near("gc_cpu_ratio", ratio, 0.25*ratio+0.01)
			if used := raw.CPU.Seconds(); !raw.CPUKnown || used <= 0.01 || used > raw.Span().Seconds()*float64(raw.Last.GOMAXPROCS)+0.1 {
				t.Errorf("CPU %v s in %v (known: %v)", used, raw.Span(), raw.CPUKnown)
			}
			ticks := (raw.Last.CPUProcUser + raw.Last.CPUProcSystem - raw.First.CPUProcUser - raw.First.CPUProcSystem).Seconds()
			if math.Abs(ticks-raw.CPU.Seconds()) > 0.05 {
				t.Errorf("CPU clock %v, /proc %v s", raw.CPU, ticks)
			}
			// Some 4 MB are held.
			if live := values["heap_live_bytes"]; live < 3<<20 || live > 30<<20 {
				t.Errorf("live heap %v", live)
			}
			// On a machine that others use, nobody may have looked for too long.
			var gap time.Duration
			for i := 1; i < len(raw.Points); i++ {
				gap = max(gap, raw.Points[i].Time.Sub(raw.Points[i-1].Time))
			}
			rss, known := values["rss_mean_bytes"]
			if known != (gap.Seconds() <= mostGap*raw.Span().Seconds()) || known && (rss < 1<<20 || values["rss_peak_bytes"] < rss || values["rss_peak_bytes"] > 1<<30) {
				t.Errorf("RSS %v, peak %v; a gap of %v in %v", rss, values["rss_peak_bytes"], gap, raw.Span())
			}
			if len(levels) < 2 || levels[0].RSS == 0 || levels[0].Goal == 0 {
				t.Errorf("levels %v", levels)
			}

			// What was seen is enough for a twin.
			if _, err := pacer.Fit(w.Recording()); err != nil {
				t.Errorf("fitting a twin: %v", err)
			}
		})
	}
}

// TestQuietProcess: of a process that does nothing, zeroes are only what is zero.
func TestQuietProcess(t *testing.T) {
	target := targettest.Start(t, targettest.Build(t, targettest.Local), "GOGC=off")
	w, err := Begin(t.Context(), target.PID(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if waited, err := w.Warm(t.Context(), 0, 100*time.Millisecond); err != nil || w.Settled() {
		t.Errorf("settled %v after %v: %v", w.Settled(), waited, err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	raw, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	values, _, _, _ := Values(raw, 1, raw.Span().Seconds())
	for _, name := range []string{"gc_cycles_per_second", "gc_pauses_over_1ms_per_minute", "stw_seconds_per_minute"} {
		if x, ok := values[name]; !ok || x != 0 {
			t.Errorf("%s is %v (there: %v)", name, x, ok)
		}
	}
	for _, name := range []string{"alloc_bytes_per_request", "alloc_objects_per_request", "gc_cpu_ratio", "gc_assist_ratio",
		"gc_pause_p50_seconds", "heap_live_bytes", "heap_goal_bytes", "sched_latency_p99_seconds"} {
		if x, ok := values[name]; ok {
			t.Errorf("%s is %v", name, x)
		}
	}
}

// TestProcessEnds: a process that is killed in a window is not measured, and says so.
func TestProcessEnds(t *testing.T) {
	target := targettest.Start(t, targettest.Build(t, targettest.Local))
	w, err := Begin(t.Context(), target.PID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	target.Kill()
	raw, err := w.Finish()
	if !errors.Is(err, ErrEnded) {
		t.Errorf("Finish: %v", err)
	}
	if values, _, _, _ := Values(raw, 1, 1); len(values) > 0 {
		t.Errorf("values %v", values)
	}
	if err := w.Ended(); !errors.Is(err, ErrEnded) {
		t.Errorf("Ended: %v", err)
	}
	if _, err := Begin(t.Context(), target.PID(), 0); !errors.Is(err, ErrEnded) {
		t.Errorf("Begin: %v", err)
	}
}

func TestBeginErrors(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skipf("no program that is not Go: %v", err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	var unreadable *UnreadableError
	if _, err := Begin(t.Context(), cmd.Process.Pid, 0); !errors.As(err, &unreadable) || unreadable.PID != cmd.Process.Pid {
		t.Errorf("a program that is not Go: %v", err)
	}
	target := targettest.Start(t, targettest.Build(t, targettest.Local))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := Begin(ctx, target.PID(), 0)
	if err != nil {
		var refused *remote.RefusedError
		t.Fatal(err, errors.As(err, &refused))
	}
	cancel()
	// Reading ends with the context; what was seen is still there.
	if n := len(w.Recording().Samples); n < 1 {
		t.Errorf("%d samples", n)
	}
}
