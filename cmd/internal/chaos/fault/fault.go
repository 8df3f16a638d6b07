package fault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A Target is the process that faults are made for, and where its cgroups are. It holds
// nothing open, and can be sent to another process.
type Target struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start_ticks"` // since boot: with the PID it names the process
	Name  string `json:"name"`        // the kernel's name of it: hostile
	Debug string `json:"debug,omitempty"`
	// Container is the ID of the container that is meant as a whole, or the name of the
	// cgroup of one that has no ID; "" where it is only about the process.
	Container string `json:"container,omitempty"`

	Memory  Dir `json:"memory"`
	CPU     Dir `json:"cpu"`
	Freezer Dir `json:"freezer"`

	// Root is where the file system of the host is, "" where it is ours.
	Root string `json:"root,omitempty"`

	// Upstreams are where the proxies of the plan pass connections on to, by the names of
	// their faults.
	Upstreams map[string]string `json:"upstreams,omitempty"`
	// Proxies are those of the plan, in the process that makes the faults.
	Proxies *Proxies `json:"-"`
}

// A Dir is the group of a target in the hierarchy of a controller.
type Dir struct {
	Path    string `json:"path"` // of its directory; "" when there is none that can be seen
	Version int    `json:"version"`
	// Own: only the target, its descendants and what started it are in it and below it, or
	// what is in the container that is meant, and it is not the root. Only such a group is
	// ever changed.
	Own bool `json:"own"`
	// Starters are the processes in it that started the target, as a container's init.
	Starters []string `json:"starters,omitempty"`
	// Others are what else is in it of a container that is meant as a whole.
	Others   []string `json:"others,omitempty"`
	Writable bool     `json:"writable"`
	// Why says why it is not own or not writable, or not there.
	Why string `json:"why,omitempty"`
	// Above are the groups above it that can be seen, the nearest first.
	Above []string `json:"above,omitempty"`
}

// A Room is what the machine has.
type Room struct {
	TotalBytes     uint64 // of memory
	AvailableBytes uint64 // that can be had without swapping: MemAvailable
	SwapBytes      uint64 // that is turned on
	CPUs           int
}

// A Resolved is a fault of which it is known what it will do to this target.
type Resolved struct {
	chaos.Fault `json:"fault"`
	// From and Level are absolute, in the unit of the kind.
	From  float64 `json:"from"`
	Level float64 `json:"level"`
	// Words say what will be done, what is written where, for the plan that is shown.
	Words []string `json:"words"`
}

// An Effect is a fault that is being made.
type Effect interface {
	// Set brings it to a level, in the unit of its kind. It may block for as long as the
	// kernel reclaims memory, or a process is frozen, and returns when the context ends.
	Set(ctx context.Context, level float64) error
	// Measure says what level can be seen from outside, and by what; not ok where
	// nothing can be seen.
	Measure() (level float64, by string, ok bool)
	// Undo takes everything back and reads it back. It may be called while Set runs,
	// which then returns, and more than once. After it the level cannot be set.
	Undo(ctx context.Context) error
}

// A Mortal is an Effect that has processes of ours, which the kernel may kill.
type Mortal interface {
	// KilledOurs is how many processes of ours ended though we did not end them.
	KilledOurs() int
}

// A Contained is an Effect that can say whether it stays in the target's own cgroup.
type Contained interface {
	Contained() bool
}

// A Cutter is an Effect that cuts connections: one that does nothing else has no level.
type Cutter interface {
	// Cuts is how many it has cut.
	Cuts() int64
}

// A Finite is an Effect that may be over before its time.
type Finite interface {
	// Over reports whether it has done all that it was to do.
	Over() bool
}

// A Journal keeps steps where another process can find them.
type Journal interface {
	// Will is called before a change; when it returns the step is on disk.
	Will(Step) error
	// Undone is called when the change is no more, or was taken over by a later step.
	Undone(Step) error
}

// The kinds of steps that the effects on cgroups and processes take.
const (
	// StepFile: the file Path has New, had Was before that and Old before any change.
	StepFile = "file"
	// StepProcess: a process of ours, PID, runs.
	StepProcess = "process"
	// StepStopped: the process PID was sent SIGSTOP.
	StepStopped = "stopped"
	// StepRemove: the file Path was made.
	StepRemove = "remove"
)

// A Step is a change, as the journal has it.
type Step struct {
	ID   int    `json:"id"` // unique in the process that takes the steps
	Kind string `json:"kind"`
	Path string `json:"path,omitempty"`
	Old  string `json:"old,omitempty"` // what it was, and will be again
	Was  string `json:"was,omitempty"` // what it was when New was written
	New  string `json:"new,omitempty"`
	// Inode is the file's: another group may have come by the name of one that was
	// removed. 0 is not known.
	Inode uint64 `json:"inode,omitempty"`
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start_ticks,omitempty"`
	// Data is what other kinds of steps need.
	Data map[string]string `json:"data,omitempty"`
}

// String says what the step is, and not what is in it that others wrote.
func (s Step) String() string {
	switch s.Kind {
	case StepFile:
		return fmt.Sprintf("%s from %q to %q", s.Path, s.Old, s.New)
	case StepProcess:
		return fmt.Sprintf("our process %d", s.PID)
	case StepStopped:
		return fmt.Sprintf("process %d stopped", s.PID)
	case StepRemove:
		return "the file " + s.Path
	}
	return s.Kind + " of process " + fmt.Sprint(s.PID)
}

var steps atomic.Int64

// nextStep is the ID of the next step.
func nextStep() int { return int(steps.Add(1)) }

// A kind is how the faults of a kind are resolved and made.
type kind struct {
	resolve func(ctx context.Context, f chaos.Fault, t *Target, caps chaos.Caps, room Room) (*Resolved, error)
	make    func(ctx context.Context, r *Resolved, t *Target, j Journal) (Effect, error)
}

// Resolve says what a fault will do to the target. It looks, and changes nothing. What
// cannot be done, or should not, is a [*RefusedError].
func Resolve(ctx context.Context, f chaos.Fault, t *Target, caps chaos.Caps, room Room) (*Resolved, error) {
	k, err := kindOf(f.Kind)
	if err != nil {
		return nil, err
	}
	if err := t.Alive(); err != nil {
		return nil, err
	}
	r, err := k.resolve(ctx, f, t, caps, room)
	if err != nil {
		return nil, err
	}
	d := t.changes(f.Kind)
	if len(d.Starters) > 0 {
		r.Words = append(r.Words, fmt.Sprintf("in %s there is what started it too, which takes part in it: %s", d.Path, strings.Join(d.Starters, ", ")))
	}
	if len(d.Others) > 0 {
		r.Words = append(r.Words, fmt.Sprintf("in %s there is more of its container, which takes part in it: %s", d.Path, few(d.Others)))
	}
	return r, nil
}

// few is a list of which the first are said.
func few(all []string) string {
	const most = 5
	if n := len(all) - most; n > 0 {
		return fmt.Sprintf("%s, and %d more", strings.Join(all[:most], ", "), n)
	}
	return strings.Join(all, ", ")
}

// changes is the group that faults of a kind are made in; none has no path.
func (t *Target) changes(k chaos.Kind) Dir {
	info, _ := k.Info()
	switch {
	case info.Memory:
		return t.Memory
	case info.CPU:
		return t.CPU
	case k == chaos.Freeze && t.byCgroup():
		return t.Freezer
	}
	return Dir{}
}

// Make makes an effect, at no level yet. What there is to clean up is in the journal
// from the beginning.
func Make(ctx context.Context, r *Resolved, t *Target, j Journal) (Effect, error) {
	k, err := kindOf(r.Kind)
	if err != nil {
		return nil, err
	}
	if err := t.Alive(); err != nil {
		return nil, err
	}
	// Its group may have been removed and made again since it was looked at, or others
	// may have come into it.
	if d := t.changes(r.Kind); d.Path != "" {
		if _, _, why := t.shared(d); why != "" {
			return nil, &RefusedError{Why: "its cgroup is not its own: " + why, hint: startHint}
		}
	}
	return k.make(ctx, r, t, j)
}

func kindOf(name chaos.Kind) (kind, error) {
	k, ok := kinds[name]
	if !ok {
		var have []string
		for _, n := range slices.Sorted(maps.Keys(kinds)) {
			have = append(have, string(n))
		}
		return kind{}, &RefusedError{Why: fmt.Sprintf("%q is no kind of fault that can be made here", string(name)), hint: "there are " + strings.Join(have, ", ")}
	}
	return k, nil
}

// A RefusedError says why something will not be done to a target. Nothing was changed.
type RefusedError struct {
	Why  string
	Err  error // the cause, where there is one
	hint string
}

func (e *RefusedError) Error() string {
	if e.Err != nil {
		return e.Why + ": " + e.Err.Error()
	}
	return e.Why
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Hint is what a user can do about it, "" when there is nothing.
func (e *RefusedError) Hint() string { return e.hint }

// A ChangedError says that what is to be undone has a value that we did not give it.
// Whoever did had a reason: it is left alone.
type ChangedError struct {
	What            string
	Old, Ours, Have string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was changed by others to %q while it was %q for the fault, and is left so", e.What, e.Have, e.Ours)
}

// Hint is what a user can do about it.
func (e *ChangedError) Hint() string { return fmt.Sprintf("before the fault it was %q", e.Old) }

// A BusyLimitError says that the kernel does not make a limit so low, since more is in
// use and cannot be reclaimed. The limit is where it was.
type BusyLimitError struct {
	WantBytes, InUseBytes, LimitBytes uint64
}

func (e *BusyLimitError) Error() string {
	return fmt.Sprintf("the kernel refuses a limit of %d bytes: %d bytes are in use; it stays at %d", e.WantBytes, e.InUseBytes, e.LimitBytes)
}

// Hint is what a user can do about it.
func (e *BusyLimitError) Hint() string { return "this is as low as the limit goes; set a higher level" }
