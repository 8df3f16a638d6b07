package groupcommit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// The tests here need a process that dies, or that may not write much: the test
// binary again, with what it shall do in its environment.
const (
	doEnv   = "HEAPWRIGHT_GROUPCOMMIT_TEST"
	fileEnv = "HEAPWRIGHT_GROUPCOMMIT_FILE"
)

const childProducers = 8

func TestMain(m *testing.M) {
	switch os.Getenv(doEnv) {
	case "":
		os.Exit(m.Run())
	case "write until killed":
		os.Exit(writeUntilKilled())
	case "fill":
		os.Exit(fill())
	}
}

func child(t *testing.T, do, path string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), doEnv+"="+do, fileEnv+"="+path)
	c.Stderr = os.Stderr
	return c
}

// writeUntilKilled appends, and says of each record on stdout when it was appended.
func writeUntilKilled() int {
	f, err := os.Create(os.Getenv(fileEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	w := New(f, Options{Sync: SyncBatch})
	var out sync.Mutex
	for p := range childProducers {
		go func() {
			for i := 0; ; i++ {
				err := w.Append(context.Background(), line(p, i))
				out.Lock()
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
				} else {
					fmt.Printf("%d %d\n", p, i)
				}
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestKill: what a process said was appended is in the file, whole and in order,
// whenever the process is killed.
func TestKill(t *testing.T) {
	for round := range 8 {
		path := filepath.Join(t.TempDir(), "log")
		c := child(t, "write until killed", path)
		stdout, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var acked [childProducers]int
		lines := bufio.NewScanner(stdout)
		seen := 0
		killAt := 1 + rand.IntN(400)
		for lines.Scan() {
			var p, n int
			if _, err := fmt.Sscan(lines.Text(), &p, &n); err != nil {
				break // cut short
			}
			acked[p] = max(acked[p], n+1)
			if seen++; seen == killAt {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.Wait()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A kill may cut the last write short, on some file systems.
		end := len(data)
		for end > 0 && data[end-1] != '\n' {
			end--
		}
		have := checkLines(t, data[:end], childProducers)
		for p := range acked {
			if have[p] < acked[p] {
				t.Errorf("round %d: of producer %d %d records are in the file, %d were acknowledged", round, p, have[p], acked[p])
			}
		}
	}
}

// limitBytes is the size to which the operating system lets the child's file grow.
const limitBytes = 100_000

// fill appends until the file must not grow any more, and then fails, unless all goes
// as it should.
func fill() int {
	signal.Ignore(syscall.SIGXFSZ)
	lim := syscall.Rlimit{Cur: limitBytes, Max: limitBytes}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lim); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	f, err := os.Create(os.Getenv(fileEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	w := New(f, Options{Sync: SyncBatch})
	var wg sync.WaitGroup
	for p := range childProducers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				if err := w.Append(context.Background(), line(p, i)); err != nil {
					fmt.Printf("%d %d\n", p, i)
					if !errors.Is(err, syscall.EFBIG) {
						fmt.Fprintln(os.Stderr, err)
					}
					return
				}
			}
		}()
	}
	wg.Wait()
	// It would work again, were it tried.
	if err := f.Truncate(0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := w.Append(context.Background(), line(0, 0)); !errors.Is(err, syscall.EFBIG) {
		fmt.Fprintln(os.Stderr, "after the failure:", err)
		return 1
	}
	if err := w.Close(); !errors.Is(err, syscall.EFBIG) {
		fmt.Fprintln(os.Stderr, "Close:", err)
		return 1
	}
	return 0
}

// TestNoRoom: a file that must not grow ends the writer, with an error for each record
// that is not in it.
func TestNoRoom(t *testing.T) {
	c := child(t, "fill", filepath.Join(t.TempDir(), "log"))
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	total := 0
	for p, rest := 0, string(out); p < childProducers; p++ {
		var who, n int
		if _, err := fmt.Sscanf(rest, "%d %d\n", &who, &n); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		rest = rest[len(fmt.Sprintf("%d %d\n", who, n)):]
		for i := range n {
			total += len(line(who, i))
		}
	}
	if total > limitBytes || total < limitBytes/2 {
		t.Errorf("%d bytes were acknowledged, of a file of at most %d", total, limitBytes)
	}
}

func TestFullDevice(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full: " + err.Error())
	}
	defer f.Close()
	w := New(f, Options{})
	if _, err := w.Write([]byte("a")); err != nil {
		t.Errorf("queueing: %v", err)
	}
	if err := w.Append(t.Context(), []byte("b")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Append: %v", err)
	}
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
}
