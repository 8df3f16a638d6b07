package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
)

// A Lease is the record of a change: who made it, and what was there before. It
// is written before the first word of the process is.
type Lease struct {
	Schema     string `json:"schema"`
	BootID     string `json:"boot_id"`
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
	// Stack is where the program's stack begins, 0 where the kernel does not say. PID
	// and start outlive an execve; that does not.
	Stack uint64 `json:"stack"`
	Exe   string `json:"exe"`
	Why   string `json:"why"`
	Owner Owner  `json:"owner"`
	// Kept says that the change is to stay when the owner ends.
	Kept bool `json:"kept"`
	// Words are what was written. Addresses are for people: what is undone is
	// located anew. The heap goal is not among them, as it follows from the others.
	Words []Step `json:"words"`
	// Earlier are those of Words that an earlier, kept change had set, and what to:
	// until this one is written, the process holds that.
	Earlier []Step `json:"earlier,omitempty"`
}

// An Owner is the tool that holds a lease.
type Owner struct {
	Tool       string    `json:"tool"`
	PID        int       `json:"pid"`
	StartTicks uint64    `json:"start_ticks"`
	UID        int       `json:"uid"`
	User       string    `json:"user"`
	Since      time.Time `json:"since"`
}

const (
	leaseSchema = "heapwright-lease/1"
	// maxLease bounds a lease file: a few words and a few short texts.
	maxLease  = 64 << 10
	maxText   = 1 << 10 // bytes of a text in a lease or the log
	maxWords  = 16
	leaseDots = ".json"
)

// undoable are the words that a lease may hold, with their sizes.
var undoable = map[string]int{
	remote.WordGCPercent: 4, remote.WordHeapMinimum: 8, remote.WordMemoryLimit: 8,
	remote.WordMemProfileRate: 8, remote.WordBlockProfileRate: 8, remote.WordMutexProfileRate: 8,
}

// parseLease reads a lease, and refuses one whose values no runtime would have:
// they are going to be written to a process.
func parseLease(data []byte) (*Lease, error) {
	if len(data) > maxLease {
		return nil, errors.New("the lease is too large")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	l := new(Lease)
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("the lease is malformed: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the lease is malformed: more follows it")
	}
	switch {
	case l.Schema != leaseSchema:
		return nil, fmt.Errorf("the lease is of another kind: %.40q", l.Schema)
	case l.PID <= 0 || l.StartTicks == 0 || len(l.BootID) == 0 || len(l.BootID) > 64:
		return nil, errors.New("the lease names no process")
	case len(l.Words) > maxWords || len(l.Earlier) > maxWords:
		return nil, fmt.Errorf("the lease has %d words", max(len(l.Words), len(l.Earlier)))
	case len(l.Exe) > maxText || len(l.Why) > maxText || len(l.Owner.Tool) > maxText || len(l.Owner.User) > maxText:
		return nil, errors.New("a text of the lease is too long")
	}
	if err := checkWords(l.Words); err != nil {
		return nil, err
	}
	if err := checkWords(l.Earlier); err != nil {
		return nil, err
	}
	return l, nil
}

func checkWords(words []Step) error {
	seen := map[string]bool{}
	for _, w := range words {
		size, ok := undoable[w.Symbol]
		switch {
		case !ok || size != w.Size || seen[w.Symbol]:
			return fmt.Errorf("the lease has a word %.60q of %d bytes", w.Symbol, w.Size)
		case !validWord(w.Symbol, w.Old) || !validWord(w.Symbol, w.New):
			return fmt.Errorf("the lease has a value that %s cannot have", w.Symbol)
		}
		seen[w.Symbol] = true
	}
	if seen[remote.WordGCPercent] != seen[remote.WordHeapMinimum] {
		return errors.New("the lease has one of two words that belong together")
	}
	return nil
}

func validWord(symbol string, v uint64) bool {
	switch symbol {
	case remote.WordGCPercent:
		return v>>32 == 0 && int32(v) >= -1
	case remote.WordHeapMinimum:
		return true // whether it fits the percentage is checked when it is used
	}
	return v <= math.MaxInt64
}

func (l *Lease) encode() ([]byte, error) {
	l.Schema = leaseSchema
	l.Exe, l.Why = clip(l.Exe), clip(l.Why)
	l.Owner.Tool, l.Owner.User = clip(l.Owner.Tool), clip(l.Owner.User)
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("writing the lease: %w", err)
	}
	return append(b, '\n'), nil
}

// clip makes a text fit, and valid.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText-3], "") + "…"
	}
	return s
}

func (h Host) leaseFile(pid int, start uint64) string {
	return filepath.Join(h.LeaseDir, fmt.Sprintf("%d-%d%s", pid, start, leaseDots))
}

// readLease returns the lease of a process, nil when there is none. One of
// another boot is of another process, one of before an execve of another program.
func (h Host) readLease(pid int, start uint64) (*Lease, error) {
	l, err := readLeaseFile(h.leaseFile(pid, start))
	switch {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	boot, err := procmem.BootID()
	if err != nil {
		return nil, err
	}
	if l.PID != pid || l.StartTicks != start || l.BootID != boot || l.replaced() {
		return nil, nil
	}
	return l, nil
}

func readLeaseFile(name string) (*Lease, error) {
	if err := checkOwn(filepath.Dir(name), true); err != nil {
		return nil, err
	}
	if err := checkOwn(name, false); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading a lease: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLease+1))
	if err != nil {
		return nil, fmt.Errorf("reading a lease: %w", err)
	}
	l, err := parseLease(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}

// write puts the lease on disk, whole or not at all.
func (h Host) write(l *Lease) error {
	data, err := l.encode()
	if err != nil {
		return err
	}
	if err := openDir(h.LeaseDir); err != nil {
		return err
	}
	name := h.leaseFile(l.PID, l.StartTicks)
	f, err := os.CreateTemp(h.LeaseDir, ".lease-*")
	if err != nil {
		return fmt.Errorf("writing the lease: %w", err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing the lease: %w", err)
	}
	return nil
}

func (h Host) drop(l *Lease) error {
	if err := os.Remove(h.leaseFile(l.PID, l.StartTicks)); err != nil && !missing(err) {
		return fmt.Errorf("removing the lease: %w", err)
	}
	return nil
}

// Leases returns the changes that are on record for this user and whose
// processes live, and forgets those whose processes do not. Beside an error it
// returns those that could be read.
func (h Host) Leases() ([]Lease, error) {
	entries, err := os.ReadDir(h.LeaseDir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	boot, err := procmem.BootID()
	if err != nil {
		return nil, err
	}
	var out []Lease
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), leaseDots) {
			continue
		}
		name := filepath.Join(h.LeaseDir, e.Name())
		l, err := readLeaseFile(name)
		if missing(err) {
			continue // its tool has just ended
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if start, err := startTicks(l.PID); l.BootID != boot || errors.Is(err, procmem.ErrExited) || err == nil && start != l.StartTicks || l.replaced() {
			if err := os.Remove(name); err != nil && !missing(err) {
				errs = append(errs, fmt.Errorf("removing the lease of a process that ended: %w", err))
			}
			continue
		}
		out = append(out, *l)
	}
	return out, errors.Join(errs...)
}

// replaced reports whether the process has replaced its program since (execve).
func (l *Lease) replaced() bool {
	now := stackStart(l.PID)
	return l.Stack != 0 && now != 0 && now != l.Stack
}

// stackStart is field 28 of /proc/PID/stat, 0 where the kernel does not say. An
// execve puts the stack elsewhere, unless addresses are not randomized.
func stackStart(pid int) uint64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The command name, the second field, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 28-2 {
		return 0
	}
	v, _ := strconv.ParseUint(fields[28-3], 10, 64) // what is no number is not said
	return v
}

// Orphaned reports whether the owner is gone and did not say that the change
// shall stay.
func (l *Lease) Orphaned() bool {
	if l.Kept {
		return false
	}
	start, err := startTicks(l.Owner.PID)
	return errors.Is(err, procmem.ErrExited) || err == nil && start != l.Owner.StartTicks
}

// startTicks is when a process started: field 22 of /proc/PID/stat.
func startTicks(pid int) (uint64, error) {
	p, err := procmem.Open(pid)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return p.StartTicks(), nil
}

// A hold is the exclusive right to change a process: a lock on its directory in
// /proc. It binds all users of this mount of /proc, ends with its holder, cannot
// outlive the process, and is shared with a watchdog that inherits the descriptor.
type hold struct{ f *os.File }

func takeHold(p *procmem.Process) (hold, error) {
	f, err := p.OpenProc(".")
	if err != nil {
		return hold{}, err
	}
	if err := flock(f); err != nil {
		f.Close()
		return hold{}, err
	}
	return hold{f}, p.Alive()
}

var errHeld = errors.New("held by another tool")

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errHeld
		case err != nil:
			return fmt.Errorf("locking the process against other tools: %w", err)
		}
		return nil
	}
}

func (l hold) release() {
	if l.f != nil {
		l.f.Close()
	}
}

// owned names the owner of a process that is held, as far as it is known.
func (h Host) owned(pid int, start uint64) error {
	e := &OwnedError{PID: pid}
	// A kept lease is of a tool that is done.
	if l, err := h.readLease(pid, start); err == nil && l != nil && !l.Kept {
		e.Owner = &l.Owner
	}
	return e
}

// self is the owner that this process is.
func (h Host) self() (Owner, error) {
	start, err := startTicks(os.Getpid())
	if err != nil {
		return Owner{}, fmt.Errorf("looking at this process: %w", err)
	}
	return Owner{Tool: h.Tool, PID: os.Getpid(), StartTicks: start, UID: os.Geteuid(), User: h.User, Since: time.Now().UTC()}, nil
}

// mayChange refuses the processes of other users. The kernel would let whoever
// has CAP_SYS_PTRACE write to them; reading is not writing.
func mayChange(p *procmem.Process) error {
	me := os.Geteuid()
	if me == 0 {
		return nil
	}
	f, err := p.OpenProc("status")
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return fmt.Errorf("reading whose process it is: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		ids, ok := strings.CutPrefix(line, "Uid:")
		if !ok {
			continue
		}
		fields := strings.Fields(ids)
		if len(fields) == 0 {
			break
		}
		for _, id := range fields {
			if n, err := strconv.Atoi(id); err != nil || n != me {
				return &OwnerError{PID: p.PID(), UID: n}
			}
		}
		return nil
	}
	return errors.New("the kernel does not say whose process it is")
}
