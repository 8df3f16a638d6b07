package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

const (
	journalSchema = "heapwright-stress-journal/1"
	journalDots   = ".journal"
	maxJournal    = 16 << 20 // bytes of a file
	maxSteps      = 4096     // that are not undone
	compactAt     = 1 << 20  // bytes from which on what is undone is left out
	revertWithin  = 5 * time.Second
)

// A header is the first line of a journal.
type header struct {
	Schema string `json:"schema"`
	BootID string `json:"boot_id"`
	Plan   string `json:"plan"`
	Tool   owner  `json:"tool"`
	Keeper owner  `json:"keeper"`
	PID    int    `json:"pid"` // of the target
	Start  uint64 `json:"start_ticks"`
	Name   string `json:"name"`
	// StateDir is where the log is, for whoever undoes it.
	StateDir string `json:"state_dir"`
}

// An entry is a line after it: one or the other.
type entry struct {
	Will   *fault.Step `json:"will,omitempty"`
	Undone *int        `json:"undone,omitempty"` // the step's ID
}

// A journal is the file that says what there is to undo. It is a [fault.Journal].
type journal struct {
	path string

	mu    sync.Mutex
	f     *os.File
	head  header
	size  int
	torn  bool               // the last line may not be whole
	steps map[int]fault.Step // not undone
	order []int
}

func journalFile(dir string, pid int, start uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%d-%d%s", pid, start, journalDots))
}

// newJournal makes the file. There is none for a target that is ours alone.
func newJournal(dir string, h header) (*journal, error) {
	h.Schema = journalSchema
	j := &journal{path: journalFile(dir, h.PID, h.Start), head: h, steps: map[int]fault.Step{}}
	return j, j.rewrite()
}

// rewrite writes the file anew, whole or not at all; the lock is held, or nobody else
// has the journal.
func (j *journal) rewrite() error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	err := e.Encode(j.head)
	for _, id := range j.order {
		if s, ok := j.steps[id]; ok && err == nil {
			err = e.Encode(entry{Will: &s})
		}
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(j.path), ".journal-*")
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if _, err = f.Write(b.Bytes()); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return fmt.Errorf("writing the journal: %w", err)
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.size, j.torn = f, b.Len(), false
	j.order = slices.DeleteFunc(j.order, func(id int) bool { _, ok := j.steps[id]; return !ok })
	return nil
}

// Will notes a step. When it returns the step is on disk.
func (j *journal) Will(s fault.Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return errors.New("writing the journal: it is closed")
	}
	if _, ok := j.steps[s.ID]; ok {
		return fmt.Errorf("writing the journal: there are two steps %d", s.ID)
	}
	if len(j.steps) >= maxSteps {
		return fmt.Errorf("writing the journal: more than %d steps are not undone", maxSteps)
	}
	j.steps[s.ID] = s
	j.order = append(j.order, s.ID)
	var err error
	if j.torn || j.size > compactAt {
		err = j.rewrite()
	} else if err = j.append(entry{Will: &s}); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		delete(j.steps, s.ID)
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// Undone notes that a step is undone. It is not waited for until that is on disk: to
// undo it again does nothing.
func (j *journal) Undone(s fault.Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.steps[s.ID]; !ok {
		return nil
	}
	delete(j.steps, s.ID)
	if j.f == nil {
		return nil
	}
	if j.torn {
		return nil // it is left out when the file is written anew
	}
	_ = j.append(entry{Undone: &s.ID}) // likewise
	return nil
}

func (j *journal) append(e entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	n, err := j.f.Write(append(b, '\n'))
	j.size += n
	if err != nil {
		// A full disk may have cut it off, and what is written next would be of the same
		// line: the file is written anew then.
		j.torn = true
	}
	return err
}

// open are the steps that are not undone, the last first.
func (j *journal) open() []fault.Step {
	j.mu.Lock()
	defer j.mu.Unlock()
	return openSteps(j.steps, j.order)
}

func openSteps(steps map[int]fault.Step, order []int) []fault.Step {
	var out []fault.Step
	for _, id := range slices.Backward(order) {
		if s, ok := steps[id]; ok {
			out = append(out, s)
		}
	}
	return out
}

// close ends the journal: nothing more can be noted.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
}

// remove ends the journal: nothing is left to undo.
func (j *journal) remove() error {
	j.close()
	if err := os.Remove(j.path); err != nil && !missing(err) {
		return fmt.Errorf("removing the journal: %w", err)
	}
	return nil
}

// readJournal reads a file that only its user could have written.
func readJournal(name string) (header, []fault.Step, error) {
	if err := checkOwn(filepath.Dir(name)); err != nil {
		return header{}, nil, err
	}
	f, err := openOwn(name, os.O_RDONLY)
	if err != nil {
		return header{}, nil, fmt.Errorf("reading a journal: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJournal+1))
	if err != nil {
		return header{}, nil, fmt.Errorf("reading a journal: %w", err)
	}
	h, steps, err := parseJournal(text)
	if err == nil && filepath.Base(name) != filepath.Base(journalFile("", h.PID, h.Start)) {
		err = errors.New("it is named for another process")
	}
	if err != nil {
		return h, nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, steps, nil
}

// parseJournal reads a journal: who wrote it, and what is not undone, the last first. A
// line that makes no sense was cut off, by the end of its writer or by a full disk: what
// it was to announce was not done.
func parseJournal(text []byte) (header, []fault.Step, error) {
	var h header
	if len(text) > maxJournal {
		return h, nil, errors.New("the journal is too long")
	}
	first, rest, whole := bytes.Cut(text, []byte{'\n'})
	if err := json.Unmarshal(first, &h); err != nil || !whole {
		return h, nil, errors.New("the journal has no beginning")
	}
	switch {
	case h.Schema != journalSchema:
		return h, nil, fmt.Errorf("the journal is of another kind: %.40q", h.Schema)
	case h.PID <= 0 || h.Start == 0 || h.BootID == "" || len(h.BootID) > 64:
		return h, nil, errors.New("the journal names no process")
	}
	h.Plan, h.Name, h.Tool.Tool, h.Keeper.Tool = clip(h.Plan), clip(h.Name), clip(h.Tool.Tool), clip(h.Keeper.Tool)
	steps := map[int]fault.Step{}
	var order []int
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		var e entry
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		switch {
		case e.Will != nil:
			if _, ok := steps[e.Will.ID]; ok {
				return h, nil, fmt.Errorf("the journal has two steps %d", e.Will.ID)
			}
			if len(steps) >= maxSteps {
				return h, nil, fmt.Errorf("the journal has more than %d steps", maxSteps)
			}
			steps[e.Will.ID] = *e.Will
			order = append(order, e.Will.ID)
		case e.Undone != nil:
			delete(steps, *e.Undone)
		}
	}
	return h, openSteps(steps, order), nil
}

// revert undoes a step. Tests have files that are of no cgroup.
var revert = fault.Revert

// revertSteps undoes steps, the last first, and says what it did, and what it could not.
// Those on the same file are undone in their order, others beside each other.
func revertSteps(ctx context.Context, steps []fault.Step) (put, left []string) {
	groups := map[string][]fault.Step{}
	for _, s := range steps {
		key := s.Path
		if key == "" {
			key = fmt.Sprint(s.Kind, s.PID)
		}
		groups[key] = append(groups[key], s)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		wg.Go(func() {
			for _, s := range groups[key] {
				one, cancel := context.WithTimeout(ctx, revertWithin)
				err := revert(one, s)
				cancel()
				changed := new(fault.ChangedError)
				mu.Lock()
				switch {
				case err == nil:
					put = append(put, "undone: "+s.String())
				case errors.As(err, &changed):
					put = append(put, err.Error())
				default:
					left = append(left, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(put)
	slices.Sort(left)
	return put, left
}

// revertFile undoes what a journal says, and removes it when all is undone.
func revertFile(ctx context.Context, name string) (put, left []string, err error) {
	h, steps, err := readJournal(name)
	if missing(err) {
		return nil, nil, nil // whoever was faster
	}
	if err != nil {
		return nil, nil, err
	}
	put, left = revertSteps(ctx, steps)
	h.note(put, left)
	if len(left) == 0 {
		if err := os.Remove(name); err != nil && !missing(err) {
			return put, left, fmt.Errorf("removing the journal: %w", err)
		}
	}
	return put, left, nil
}

// note logs what was undone of a journal, where there is a log.
func (h header) note(put, left []string) {
	if !filepath.IsAbs(h.StateDir) || len(put)+len(left) == 0 {
		return
	}
	l, err := openLog(h.StateDir)
	if err != nil {
		return // what is undone is undone
	}
	l.base = Entry{Tool: h.Tool.Tool, UID: os.Geteuid(), PID: h.PID, Start: h.Start, BootID: h.BootID, Name: h.Name, Plan: h.Plan}
	for _, text := range put {
		l.put(Entry{Action: ActionSweep, Outcome: text})
	}
	for _, text := range left {
		l.put(Entry{Action: ActionSweep, Outcome: "not undone: " + text})
	}
	l.close()
}

// maxJournals is how many files one sweep looks at.
const maxJournals = 4096

// Sweep undoes what is left of plans whose keeper and tool are gone, and says what that
// was. What belongs to one that still runs is left alone. It is called whenever stress
// begins, and for who asks that everything be undone.
func Sweep(ctx context.Context, dir string) ([]string, error) {
	if _, err := os.Lstat(dir); missing(err) {
		return nil, nil
	}
	if err := checkOwn(dir); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for what is left of stress: %w", err)
	}
	entries, err := d.ReadDir(maxJournals)
	d.Close()
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("looking for what is left of stress: %w", err)
	}
	boot, err := procmem.BootID()
	if err != nil {
		return nil, err
	}
	var put []string
	var all error
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), ".journal-"):
			// Half of one, from a keeper that was killed; or one that is being written.
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
				os.Remove(name)
			}
		case strings.HasSuffix(e.Name(), journalDots):
			done, err := sweepOne(ctx, dir, name, boot)
			put, all = append(put, done...), errors.Join(all, err)
		}
	}
	dropIdleLocks(dir)
	return put, all
}

func sweepOne(ctx context.Context, dir, name, boot string) ([]string, error) {
	h, _, err := readJournal(name)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for what is left of stress: %w", err)
	}
	if h.BootID != boot {
		// Nothing of what it did has outlived the boot.
		if err := os.Remove(name); err != nil && !missing(err) {
			return nil, fmt.Errorf("removing the journal: %w", err)
		}
		return nil, nil
	}
	if h.Tool.alive() || h.Keeper.alive() {
		return nil, nil
	}
	self, err := ourselves("heapwright")
	if err != nil {
		return nil, err
	}
	l, err := takeLock(processLock(dir, h.PID, h.Start), fmt.Sprintf("process %d", h.PID), holder{Tool: self})
	if busy := new(BusyError); errors.As(err, &busy) {
		return nil, nil // another sweeps
	}
	if err != nil {
		return nil, err
	}
	defer l.release()
	put, left, err := revertFile(ctx, name)
	for i, text := range put {
		put[i] = fmt.Sprintf("plan %q on process %d: %s", h.Plan, h.PID, text)
	}
	for _, text := range left {
		err = errors.Join(err, errors.New(text))
	}
	if err != nil {
		err = fmt.Errorf("undoing what plan %q left of process %d: %w", h.Plan, h.PID, err)
	}
	return put, err
}

func sortedKeys[V any](m map[int]V) []int { return slices.Sorted(maps.Keys(m)) }
