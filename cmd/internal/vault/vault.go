// Package vault keeps snapshots of processes on disk: what goroutines there were and
// what the heap held, at an instant. There is room for so many bytes, shared fairly
// among the processes; what gets old gets sparse.
//
// A snapshot is a file in the recording format, so that `heapwright diagnose FILE`
// opens it. It is written beside its place, made to last, and then named: a file that
// has a name is whole. What lies in the directory is not trusted: names that are none
// of ours are left alone, and what is read has bounds.
//
// The package takes no snapshots, and does not hold off a second writer: the agent has
// a lock on its directory for all that is in it.
package vault

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Periodic is the reason of snapshots that are taken because it is time. Those that
// have another are kept longer.
const Periodic = "periodic"

// Bounds of what may be put.
const (
	maxReason   = 200       // bytes of a reason
	maxProcess  = 128       // bytes of a process's ID
	maxEntries  = 100_000   // snapshots in all: what is known of one in memory is 200 bytes
	leastShare  = 256 << 10 // bytes: a share in which no snapshot fits would keep none
	readObjects = 1_000_000 // JSON objects of a snapshot that is read
	readBytes   = 256 << 20 // expanded bytes of it
	readSamples = 1000      // samples of it
)

// Options say where snapshots are kept, and how many. What is zero has a default.
type Options struct {
	Dir        string
	MaxBytes   int64         // of all snapshots; 1 GiB
	PerProcess int64         // of those of one process; an eighth of MaxBytes
	MaxAge     time.Duration // of the oldest; 15 days

	Now func() time.Time // the clock; time.Now
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("no directory is given")
	}
	if o.MaxBytes < 0 || o.PerProcess < 0 || o.MaxAge < 0 {
		return errors.New("a bound is negative")
	}
	o.MaxBytes = max(cmp.Or(o.MaxBytes, 1<<30), leastShare)
	o.PerProcess = min(max(cmp.Or(o.PerProcess, o.MaxBytes/8), leastShare), o.MaxBytes)
	o.MaxAge = cmp.Or(o.MaxAge, 15*24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// An Entry is what is known of a snapshot without reading it.
type Entry struct {
	Process        string    `json:"process"`
	Key            string    `json:"key"` // names it among those of the process; safe in a URL, and sorts by time
	Time           time.Time `json:"time"`
	Reason         string    `json:"reason"`
	Bytes          int64     `json:"bytes"` // of the file
	Goroutines     int       `json:"goroutines"`
	HeapInUseBytes float64   `json:"heap_in_use_bytes"` // of the heap profile; 0 when there is none
	Kinds          []string  `json:"kinds"`             // goroutines, heap, block, mutex: what is in it
}

// Stats count what a vault holds, and what it did since it was opened.
type Stats struct {
	Snapshots int       `json:"snapshots"`
	Processes int       `json:"processes"`
	Bytes     int64     `json:"bytes"`
	MaxBytes  int64     `json:"max_bytes"`
	Oldest    time.Time `json:"oldest"`
	Newest    time.Time `json:"newest"`
	Stored    uint64    `json:"stored_total"`
	Failed    uint64    `json:"failed_total"`
	Thinned   uint64    `json:"thinned_total"` // removed for their age
	Evicted   uint64    `json:"evicted_total"` // removed for want of room
	Ignored   int       `json:"ignored"`       // files found in the directory that are no snapshots
}

// A NotFoundError says that there is no such snapshot, or none any more.
type NotFoundError struct{ Process, Key string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no snapshot %.80q of %.80q: it was thinned out, or never taken", e.Key, e.Process)
}

// Is makes it an fs.ErrNotExist.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// A FullError says that the disk has no room for a snapshot. What is kept is whole, and
// the next one is kept as soon as there is room.
type FullError struct {
	Dir string
	Err error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("there is no room for a snapshot in %s: %v", e.Dir, e.Err)
}
func (e *FullError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *FullError) Hint() string {
	return "make room on the disk, or give the vault fewer bytes; snapshots go on by themselves then"
}

// A TooLargeError says that a snapshot is larger than the share of its process.
type TooLargeError struct {
	Process string
	Share   int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a snapshot of %s is larger than the %d bytes that one process may have", e.Process, e.Share)
}

// A Vault is open for many readers and writers.
type Vault struct {
	opts Options
	root *os.Root

	writing sync.Mutex // held from the first byte of a snapshot until it is named

	mu        sync.Mutex
	processes map[string]*shelf
	bytes     int64
	count     int
	stats     Stats
	closed    bool
}

// A shelf holds the snapshots of a process.
type shelf struct {
	entries []Entry // by key
	bytes   int64
}

// Open opens the vault in a directory, which it makes if it has to. What is not a whole
// snapshot is swept away when it is ours, and left alone otherwise.
func Open(opts Options) (*Vault, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	root, err := os.OpenRoot(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	v := &Vault{opts: opts, root: root, processes: map[string]*shelf{}}
	v.load()
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.processes {
		v.thin(id)
	}
	v.evict("", 0)
	return v, nil
}

// Close lets go of the directory. Nothing is lost without it.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	return v.root.Close()
}

// Put keeps the goroutines and profiles of a recording as a snapshot. Once it returns
// without an error, the snapshot is on the disk. Its time is that of the latest thing
// in it. Samples, cycles and events are left out: the store has them.
func (v *Vault) Put(process, reason string, rec *record.Recording) (Entry, error) {
	e, err := v.put(process, reason, rec)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.stats.Failed++
		return Entry{}, fmt.Errorf("keeping a snapshot: %w", err)
	}
	v.stats.Stored++
	return clone(e), nil
}

func (v *Vault) put(process, reason string, rec *record.Recording) (Entry, error) {
	dir, err := dirOf(process)
	if err != nil {
		return Entry{}, err
	}
	if rec == nil || len(rec.Goroutines)+len(rec.Profiles) == 0 {
		return Entry{}, errors.New("there are neither goroutines nor profiles in it")
	}
	e := describe(process, reason, rec)
	if e.Time.IsZero() {
		e.Time = v.opts.Now()
	}

	v.writing.Lock()
	defer v.writing.Unlock()
	if err := v.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return Entry{}, v.full(err)
	}
	temporary := dir + "/" + partialName
	e.Bytes, err = v.write(temporary, &e, rec)
	if err != nil {
		v.root.Remove(temporary)
		v.root.Remove(dir) // if nothing else is in it
		return Entry{}, v.full(err)
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	e.Key, e.Time = v.key(process, e.Time)
	v.evict(process, e.Bytes)
	if err := v.root.Rename(temporary, dir+"/"+e.Key+suffix); err != nil {
		v.root.Remove(temporary)
		return Entry{}, v.full(err)
	}
	if err := syncDir(v.root, dir); err != nil {
		return Entry{}, v.full(err)
	}
	v.add(e)
	v.thin(process)
	return e, nil
}

// full makes a FullError of an error that says so.
func (v *Vault) full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &FullError{v.opts.Dir, err}
	}
	return err
}

// key returns a name that no snapshot of the process has, and the instant it is of.
// The time of a key is in microseconds.
func (v *Vault) key(process string, t time.Time) (string, time.Time) {
	t = clampTime(t).Truncate(time.Microsecond)
	for {
		key := t.Format(keyFormat)
		if _, taken := v.find(process, key); !taken {
			return key, t
		}
		t = t.Add(time.Microsecond)
	}
}

// add puts an entry into its place. The lock is held.
func (v *Vault) add(e Entry) {
	s := v.processes[e.Process]
	if s == nil {
		s = &shelf{}
		v.processes[e.Process] = s
	}
	at, _ := slices.BinarySearchFunc(s.entries, e.Key, byKey)
	s.entries = slices.Insert(s.entries, at, e)
	s.bytes += e.Bytes
	v.bytes += e.Bytes
	v.count++
}

func byKey(e Entry, key string) int { return strings.Compare(e.Key, key) }

// find returns where the entry is on its shelf. The lock is held.
func (v *Vault) find(process, key string) (int, bool) {
	s := v.processes[process]
	if s == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(s.entries, key, byKey)
}

// remove takes an entry off its shelf, and its file off the disk. The lock is held.
// A file that cannot be removed is forgotten all the same: a directory that was made
// read-only must not stop the vault, and the next Open finds the file again.
func (v *Vault) remove(process string, at int) {
	s := v.processes[process]
	e := s.entries[at]
	dir, _ := dirOf(process)
	v.root.Remove(dir + "/" + e.Key + suffix)
	s.entries = slices.Delete(s.entries, at, at+1)
	s.bytes -= e.Bytes
	v.bytes -= e.Bytes
	v.count--
	if len(s.entries) == 0 {
		delete(v.processes, process)
		v.root.Remove(dir)
	}
}

// thin removes what is too old, or too dense for its age. The lock is held.
func (v *Vault) thin(process string) {
	s := v.processes[process]
	drop := sparse(s.entries, v.opts.Now(), v.opts.MaxAge)
	for _, at := range slices.Backward(drop) {
		v.remove(process, at)
		v.stats.Thinned++
	}
}

// evict makes room for a snapshot of a process. The lock is held.
func (v *Vault) evict(process string, bytes int64) {
	for {
		from, ok := v.over(process, bytes)
		if !ok {
			return
		}
		v.remove(from, victim(v.processes[from].entries, v.opts.Now(), v.opts.PerProcess/2))
		v.stats.Evicted++
	}
}

// over returns the process that has to give up a snapshot before one of so many bytes
// is put: one that has more than its share, or the one that has most when there are
// too many in all. So who has little keeps it, whatever others do.
func (v *Vault) over(process string, bytes int64) (from string, ok bool) {
	if s := v.processes[process]; s != nil && s.bytes+bytes > v.opts.PerProcess {
		return process, true
	}
	count := v.count
	if bytes > 0 {
		count++
	}
	if v.bytes+bytes <= v.opts.MaxBytes && count <= maxEntries {
		return "", false
	}
	var most int64 = -1
	for id, s := range v.processes {
		has := s.bytes
		if id == process {
			has += bytes
		}
		if has > most || has == most && id < from {
			from, most = id, has
		}
	}
	return from, most >= 0
}

// List returns the snapshots of a process, or of all for "", from one instant to
// another, both included; a zero time is no bound. They are in the order of time.
func (v *Vault) List(process string, from, to time.Time) []Entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := []Entry{}
	for id, s := range v.processes {
		if process != "" && id != process {
			continue
		}
		for _, e := range s.entries {
			if (from.IsZero() || !e.Time.Before(from)) && (to.IsZero() || !e.Time.After(to)) {
				out = append(out, clone(e))
			}
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Process, b.Process))
	})
	return out
}

func clone(e Entry) Entry {
	e.Kinds = slices.Clone(e.Kinds)
	return e
}

// Get reads a snapshot. The error is a *NotFoundError when there is none.
func (v *Vault) Get(process, key string) (*record.Recording, error) {
	f, _, err := v.Open(process, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rec, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("reading snapshot %s of %s: %w", key, process, err)
	}
	return rec, nil
}

// Open opens the file of a snapshot, for who wants it as it is: it is a recording. The
// error is a *NotFoundError when there is none.
func (v *Vault) Open(process, key string) (io.ReadSeekCloser, Entry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, ok := v.find(process, key)
	if !ok {
		return nil, Entry{}, &NotFoundError{process, key}
	}
	e := v.processes[process].entries[at]
	dir, _ := dirOf(process) // it was put, so it has one
	f, _, err := openFile(v.root, dir+"/"+e.Key+suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Entry{}, &NotFoundError{process, key}
	}
	if err != nil {
		return nil, Entry{}, fmt.Errorf("opening snapshot %s of %s: %w", key, process, err)
	}
	return f, clone(e), nil
}

// Stats returns the counts.
func (v *Vault) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.stats
	s.Snapshots, s.Processes, s.Bytes, s.MaxBytes = v.count, len(v.processes), v.bytes, v.opts.MaxBytes
	for _, shelf := range v.processes {
		first, last := shelf.entries[0].Time, shelf.entries[len(shelf.entries)-1].Time
		if s.Oldest.IsZero() || first.Before(s.Oldest) {
			s.Oldest = first
		}
		if last.After(s.Newest) {
			s.Newest = last
		}
	}
	return s
}

// A boundedWriter fails when more than left bytes are written to it.
type boundedWriter struct {
	buf   bytes.Buffer
	left  int64
	tooBy error
}

func (w *boundedWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > w.left {
		return 0, w.tooBy
	}
	w.left -= int64(len(b))
	return w.buf.Write(b)
}
