package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const (
	targetVerb = "fault-target"
	holderVerb = "fault-holder"
)

// A targetSpec is what a small program in a cgroup of its own holds.
type targetSpec struct {
	Dirs  []string
	Heap  int // bytes
	Cache int // bytes of page cache
	Burn  bool
	Shell string // what it has a shell of its own do
}

// beTarget is that program. It ends with its input.
func beTarget(context.Context) error {
	var spec targetSpec
	if err := json.Unmarshal([]byte(os.Args[2]), &spec); err != nil {
		return err
	}
	for _, dir := range spec.Dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	if spec.Heap > 0 {
		// Not of Go's heap, which the race detector keeps twice.
		m, err := newMapped(uint64(spec.Heap), false)
		if err != nil {
			return err
		}
		if err := m.grow(0, uint64(spec.Heap)); err != nil {
			return err
		}
	}
	if spec.Cache > 0 {
		f, err := unnamed("/var/tmp")
		if err != nil {
			return err
		}
		if err := f.Truncate(int64(spec.Cache)); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			return err
		}
	}
	if spec.Burn {
		go func() {
			for n := 0; ; n++ {
			}
		}()
	}
	if spec.Shell != "" {
		shell := exec.Command("sh", "-c", spec.Shell)
		if err := shell.Start(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// A holderSpec is a fault that another process makes.
type holderSpec struct {
	PID        int
	Fault      chaos.Fault
	Journal    string
	Background bool // the level is set while it says that it is ready
	Again      bool // and is set up and down
}

// beHolder makes the effect and holds it until it is killed.
func beHolder(ctx context.Context) error {
	var spec holderSpec
	if err := json.Unmarshal([]byte(os.Args[2]), &spec); err != nil {
		return err
	}
	t, err := Locate(ctx, spec.PID, "")
	if err != nil {
		return err
	}
	room, err := Look()
	if err != nil {
		return err
	}
	r, err := Resolve(ctx, spec.Fault, t, chaos.Caps{}, room)
	if err != nil {
		return err
	}
	e, err := Make(ctx, r, t, &fileJournal{path: spec.Journal})
	if err != nil {
		return err
	}
	set := func() error { return e.Set(ctx, r.Level) }
	if spec.Again {
		set = func() error {
			for n := 0; ; n++ {
				if err := e.Set(ctx, r.Level+(r.From-r.Level)*float64(n%8)/8); err != nil {
					return err
				}
			}
		}
	}
	if spec.Background {
		go set()
	} else if err := set(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A fileJournal is one that another process can read.
type fileJournal struct {
	mu   sync.Mutex
	path string
}

type entry struct {
	Step   Step
	Undone bool
}

func (j *fileJournal) Will(s Step) error   { return j.add(entry{s, false}) }
func (j *fileJournal) Undone(s Step) error { return j.add(entry{s, true}) }

func (j *fileJournal) add(e entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f, err := os.OpenFile(j.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(e)
}

// outstanding are the steps of a journal that nobody has undone, the last first.
func outstanding(t testing.TB, path string) []Step {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var open []Step
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // cut off by the kill
		}
		if !e.Undone {
			open = append([]Step{e.Step}, open...)
			continue
		}
		for i := range open {
			if open[i].ID == e.Step.ID {
				open = append(open[:i], open[i+1:]...)
				break
			}
		}
	}
	return open
}

// A listJournal is one of a test's own process, which refuses what it does not know.
type listJournal struct {
	mu   sync.Mutex
	open map[int]Step
	all  []Step
}

func (j *listJournal) Will(s Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open == nil {
		j.open = map[int]Step{}
	}
	j.open[s.ID] = s
	j.all = append(j.all, s)
	return nil
}

func (j *listJournal) Undone(s Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.open[s.ID]; !ok {
		return fmt.Errorf("%s was not in the journal", s)
	}
	delete(j.open, s.ID)
	return nil
}

func (j *listJournal) left() []Step {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Step
	for _, s := range j.open {
		out = append(out, s)
	}
	return out
}
