package keeper

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
)

// A noted is the journal as one course has it: its steps can be told from others'.
type noted struct {
	of *server

	mu   sync.Mutex
	mine map[int]fault.Step
	ids  []int
}

func (n *noted) Will(s fault.Step) error {
	if err := n.of.journal.Will(s); err != nil {
		return err
	}
	n.of.kept.see(s)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mine == nil {
		n.mine = map[int]fault.Step{}
	}
	n.mine[s.ID] = s
	n.ids = append(n.ids, s.ID)
	if len(n.ids) > 2*len(n.mine)+16 { // most are undone
		ids := n.ids[:0]
		for _, id := range n.ids {
			if _, ok := n.mine[id]; ok {
				ids = append(ids, id)
			}
		}
		n.ids = ids
	}
	return nil
}

func (n *noted) Undone(s fault.Step) error {
	n.mu.Lock()
	delete(n.mine, s.ID)
	n.mu.Unlock()
	return n.of.journal.Undone(s)
}

// open are the steps of the course that are not undone, the last first.
func (n *noted) open() []fault.Step {
	n.mu.Lock()
	defer n.mu.Unlock()
	return openSteps(n.mine, n.ids)
}

// settle takes steps off the journal that were undone one by one. When something could
// not be, all stay there: to undo one again does nothing.
func (n *noted) settle(steps []fault.Step, undone bool) {
	if !undone {
		return
	}
	for _, s := range steps {
		// A journal that cannot be written names what is undone, which does no harm.
		_ = n.Undone(s)
	}
}

// A kept remembers what was there before any fault, to look whether it is there again.
type kept struct {
	mu    sync.Mutex
	files map[string]before // what they were before the first change
	made  map[string]bool   // files that were made
	procs map[owner]string  // ours, and those that were stopped, and which
}

// A before is a file of a cgroup, and what it held.
type before struct {
	file os.FileInfo // nil where it could not be asked
	held string
}

const (
	ours    = "ours"
	stopped = "stopped"
)

// maxKept bounds what is remembered: there are a few files, and an eater for each fault.
const maxKept = 1 << 12

func (k *kept) see(s fault.Step) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files == nil {
		k.files, k.made, k.procs = map[string]before{}, map[string]bool{}, map[owner]string{}
	}
	if len(k.files)+len(k.made)+len(k.procs) >= maxKept {
		return
	}
	switch s.Kind {
	case fault.StepFile:
		if _, ok := k.files[s.Path]; !ok {
			is, _ := os.Stat(s.Path)
			k.files[s.Path] = before{is, s.Old}
		}
	case fault.StepRemove:
		k.made[s.Path] = true
	case fault.StepProcess:
		k.procs[owner{PID: s.PID, StartTicks: s.Start}] = ours
	case fault.StepStopped:
		k.procs[owner{PID: s.PID, StartTicks: s.Start}] = stopped
	}
}

// left says what is not as it was.
func (k *kept) left() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for path, was := range k.files {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the group went with its process
		}
		if is, err := os.Stat(path); err != nil || was.file != nil && !os.SameFile(was.file, is) {
			continue // it is another's, as of a container that was started again
		}
		if have := strings.TrimSpace(string(text)); have != strings.TrimSpace(was.held) {
			out = append(out, clip(fmt.Sprintf("%s is %q, and was %q", path, have, was.held)))
		}
	}
	for path := range k.made {
		if _, err := os.Lstat(path); err == nil {
			out = append(out, clip("the file "+path))
		}
	}
	for o, what := range k.procs {
		switch {
		case what == ours && o.alive():
			out = append(out, fmt.Sprintf("our process %d", o.PID))
		case what == stopped && o.alive() && isStopped(o.PID):
			out = append(out, fmt.Sprintf("process %d is stopped", o.PID))
		}
	}
	return out
}

func isStopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	return strings.HasPrefix(rest, "T")
}
