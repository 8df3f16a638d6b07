package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A setting is a file with a value that is changed for a while.
type setting struct {
	path  string
	inode uint64 // of the file
	old   string
	j     Journal

	mu    sync.Mutex
	steps []Step // that are in the journal; the last one has the value that is ours
}

func openSetting(path string, j Journal) (*setting, error) {
	inode, err := inodeOf(path)
	if err != nil {
		return nil, fmt.Errorf("reading a setting: %w", err)
	}
	old, err := readValue(path)
	if err != nil {
		return nil, fmt.Errorf("reading a setting: %w", err)
	}
	return &setting{path: path, inode: inode, old: old, j: j}, nil
}

// last is the value that it has if nobody else has changed it.
func (s *setting) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.steps); n > 0 {
		return s.steps[n-1].New
	}
	return s.old
}

// read is what it is now. It is gone when another file has its name.
func (s *setting) read() (string, error) {
	if err := isFile(s.path, s.inode); err != nil {
		return "", err
	}
	return readValue(s.path)
}

// write writes to the file that was read before, and no other.
func (s *setting) write(ctx context.Context, value string) error {
	return writeTo(ctx, s.path, s.inode, value)
}

// note has the journal know what is about to be written.
func (s *setting) note(value string) (Step, error) {
	was := s.last()
	have, err := s.read()
	if err != nil {
		return Step{}, err
	}
	if !same(have, was) {
		return Step{}, &ChangedError{What: s.path, Old: s.old, Ours: was, Have: have}
	}
	step := Step{ID: nextStep(), Kind: StepFile, Path: s.path, Old: s.old, Was: was, New: value, Inode: s.inode}
	if err := s.j.Will(step); err != nil {
		return Step{}, fmt.Errorf("writing the journal: %w", err)
	}
	s.mu.Lock()
	s.steps = append(s.steps, step)
	s.mu.Unlock()
	return step, nil
}

// forget takes steps out of the journal that are no more, or that the last one undoes.
func (s *setting) forget(which func(Step) bool) error {
	s.mu.Lock()
	var gone []Step
	s.steps = slices.DeleteFunc(s.steps, func(st Step) bool {
		if which(st) {
			gone = append(gone, st)
			return true
		}
		return false
	})
	s.mu.Unlock()
	var all error
	for _, st := range gone {
		all = errors.Join(all, s.j.Undone(st))
	}
	return all
}

// put writes a value, which is in the journal before and read back after.
func (s *setting) put(ctx context.Context, value string) error {
	if same(s.last(), value) {
		return nil
	}
	step, err := s.note(value)
	if err != nil {
		return err
	}
	err = s.write(ctx, value)
	switch {
	case err == nil:
		err = readBack(s.path, value)
	case ctx.Err() != nil:
		return context.Cause(ctx) // it may have been taken: the step stays
	}
	if err != nil {
		if readBack(s.path, step.Was) == nil { // nothing was changed
			return errors.Join(err, s.forget(func(st Step) bool { return st.ID == step.ID }))
		}
		return err
	}
	return s.forget(func(st Step) bool { return st.ID != step.ID })
}

// undo writes what it was, if what is there is ours.
func (s *setting) undo(ctx context.Context) error {
	s.mu.Lock()
	steps := slices.Clone(s.steps)
	s.mu.Unlock()
	if len(steps) == 0 {
		return nil
	}
	have, err := s.read()
	switch {
	case gone(err):
		return s.forget(func(Step) bool { return true }) // it went with its process
	case err != nil:
		return err
	}
	ours := same(have, s.old)
	for _, st := range steps {
		ours = ours || same(have, st.New) || same(have, st.Was)
	}
	if !ours {
		// It is not ours any more, and nobody should take it for ours later.
		return errors.Join(&ChangedError{What: s.path, Old: s.old, Ours: steps[len(steps)-1].New, Have: have}, s.forget(func(Step) bool { return true }))
	}
	if !same(have, s.old) {
		if err := s.write(ctx, s.old); gone(err) {
			return s.forget(func(Step) bool { return true })
		} else if err != nil {
			return err
		}
		if err := readBack(s.path, s.old); err != nil {
			return err
		}
	}
	return s.forget(func(Step) bool { return true })
}

// undoAll closes the gate and undoes settings in their order. Where a Set does not come
// back at once, since the kernel holds it, what it changes is put back all the same, and
// again when it has come back.
func undoAll(ctx context.Context, g *gate, settings ...*setting) error {
	const soon = 100 * time.Millisecond
	g.close()
	leave, ok := g.wait(ctx, soon)
	if !ok {
		for _, s := range settings {
			_ = s.write(ctx, s.old)
		}
		if leave, ok = g.wait(ctx, 10*time.Second); !ok {
			return errors.New("undoing a fault: the kernel does not let go of what was being written")
		}
	}
	defer leave()
	var all error
	for _, s := range settings {
		if err := s.undo(ctx); err != nil {
			all = errors.Join(all, fmt.Errorf("undoing a fault: %w", err))
		}
	}
	return all
}
