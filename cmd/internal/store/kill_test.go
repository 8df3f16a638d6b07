package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// A test binary that finds these in its environment is the child of TestKill.
const (
	envChild = "HEAPWRIGHT_STORE_CHILD" // the directory
	envFirst = "HEAPWRIGHT_STORE_FIRST" // the number of the first batch
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		first, _ := strconv.Atoi(os.Getenv(envFirst))
		fmt.Println(child(dir, first))
		return
	}
	m.Run()
}

// A batch of TestKill is one sample of each of 12 series, 15 s after the batch before,
// and one of a series that is there for 40 batches only.
const killStep = 15 * time.Second

type killSample struct {
	name, process string
	t             time.Time
	v             float64
}

// killTime is when: every 700 batches, the clock is set back by 90 minutes, so that what
// follows overlaps with what is there.
func killTime(i int) time.Time {
	jumps := i / 700
	return day.Add(time.Duration(i)*killStep - time.Duration(jumps)*90*time.Minute + time.Duration(jumps)*time.Millisecond)
}

func killBatch(i int) []killSample {
	t := killTime(i)
	var all []killSample
	for p := range 12 {
		all = append(all, killSample{"kill_steady", fmt.Sprint(p), t, float64(i*100 + p)})
	}
	return append(all, killSample{"kill_short", fmt.Sprint(i / 40), t, float64(-i)})
}

// child stores batch after batch, and prints the number of each that was acknowledged.
// All the while it compacts, so that it is killed in the middle of that too.
func child(dir string, first int) error {
	db, err := Open(Options{Dir: dir, Reserve: 1 << 20})
	if err != nil {
		return err
	}
	go func() {
		for {
			db.upkeep(context.Background())
			time.Sleep(5 * time.Millisecond)
		}
	}()
	handles := map[string]*Series{}
	for i := first; ; i++ {
		b := db.Begin()
		batch := killBatch(i)
		for _, s := range batch {
			key := s.name + s.process
			if handles[key] == nil {
				handles[key] = db.Series(s.name, series.Label{Name: "process", Value: s.process})
			}
			b.Append(handles[key], s.t, s.v)
		}
		n, err := b.Commit()
		if err != nil {
			return err
		}
		if n != len(batch) {
			if n != 0 && n != 1 { // the new series of a batch before the clock's turn is seen
				return fmt.Errorf("stored %d of %d", n, len(batch))
			}
			i--
			time.Sleep(time.Millisecond)
			continue
		}
		// One write, so that a line is there or not.
		os.Stdout.WriteString(strconv.Itoa(i) + "\n")
	}
}

// TestKill kills a process that stores, again and again, and asks for every sample that
// was acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[int]bool{}
	next := 0
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	const rounds = 24
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"="+dir, envFirst+"="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		var kill *time.Timer
		for lines.Scan() {
			i, err := strconv.Atoi(lines.Text())
			if err != nil {
				cmd.Process.Kill()
				t.Fatalf("round %d: the child said %q", round, lines.Text())
			}
			if kill == nil {
				kill = time.AfterFunc(time.Duration(r.Int64N(int64(120*time.Millisecond))), func() { cmd.Process.Kill() })
			}
			acked[i] = true
			next = i + 1
		}
		stuck.Stop()
		if kill == nil {
			t.Errorf("round %d: nothing was acknowledged", round)
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		// The batch that was under way may be there or not.
		next++
		if round%6 == 5 {
			checkKilled(t, dir, acked, next)
		}
	}
	t.Logf("%d kills, %d batches acknowledged", rounds, len(acked))
}

func checkKilled(t *testing.T, dir string, acked map[int]bool, end int) {
	db := open(t, Options{Dir: dir})
	defer db.Close()
	type at struct {
		name, process string
		t             int64
	}
	got := map[at]float64{}
	m, err := db.Reader().Raw(context.Background(), `{__name__=~"kill_.*"}`, day, day.Add(time.Duration(end)*killStep), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range m {
		for _, p := range s.Floats {
			got[at{s.Metric.Get("__name__"), s.Metric.Get("process"), p.T}] = p.F
		}
	}
	lost := 0
	for i := range acked {
		for _, s := range killBatch(i) {
			if v, ok := got[at{s.name, s.process, s.t.UnixMilli()}]; !ok || v != s.v {
				if lost++; lost < 10 {
					t.Errorf("batch %d was acknowledged, and %s %s has %v (%v) and not %v", i, s.name, s.process, v, ok, s.v)
				}
			}
		}
	}
	if lost > 0 {
		t.Fatalf("%d acknowledged samples are lost", lost)
	}
	s := db.Stats()
	if s.Damaged > 0 {
		t.Errorf("a kill damaged a block: %+v", s)
	}
	t.Logf("%d samples, %d blocks", len(got), s.Blocks)
}
