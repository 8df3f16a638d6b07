package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

const (
	blockRange = 2 * time.Hour // of the head, and of the smallest block

	// maxBlockRange bounds the blocks that compaction makes: 2 h, 6 h, 18 h. Retention
	// drops whole blocks, so a larger one would keep history longer than asked for, and
	// making it would take twice its size on the disk for a while.
	maxBlockRange = 18 * time.Hour

	defaultRetention = 15 * 24 * time.Hour
	defaultReserve   = 32 << 20 // bytes

	minSegment = 256 << 10 // bytes, of the log
	maxSegment = 16 << 20

	tick = time.Minute // between two rounds of upkeep

	// setBack is how far behind the newest sample commits must be for the clock to have
	// been set back, and setBackCommits how many of them in a row. Less than that is
	// waited out.
	setBack        = time.Minute
	setBackCommits = 3
)

// Options say where and how a store keeps what it is given.
type Options struct {
	Dir       string        // made, with mode 0700, where it is not there
	Retention time.Duration // how long samples are kept; 0: 15 days
	// MaxBytes bounds what is on disk: the oldest blocks go when it is exceeded. 0: no
	// bound but Retention. It is looked at when a block is written, so that up to two
	// hours of new samples may be above it.
	MaxBytes int64
	// Reserve is how much of the file system stays free, in bytes: below that, Commit
	// fails with a FullError. What the database writes behind the scenes lives on it.
	// 0: 32 MiB.
	Reserve  int64
	External []series.Label // labels of every series, where a series has not its own
	Query    QueryOptions
	Logger   *slog.Logger     // nil: none
	Now      func() time.Time // nil: time.Now
}

// A DB is a store that is open. Its methods may be called at once.
type DB struct {
	opt     Options
	log     *slog.Logger
	lock    *dirLock
	space   func(dir string) (free int64, ok bool)
	engine  *engine
	batches sync.Pool

	// mu guards which database is open. Whoever uses it holds mu for reading; only Close
	// and a reopening hold it for writing.
	mu     sync.RWMutex
	tsdb   *tsdb.DB // nil: closed, or given up after a failure (see broken)
	meters *meters  // of tsdb
	gen    uint64   // counts databases: references into one mean nothing to the next
	closed bool

	writing sync.Mutex // held by Commit: one writer at a time
	newest  int64      // ms: the newest sample that came, 0: none yet; guarded by writing
	behind  int        // commits in a row that were far behind it; guarded by writing
	since   int64      // ms: the newest sample of the last of these; guarded by writing

	wake   chan struct{} // to the upkeep: the clock was set back
	broken atomic.Bool   // the log could not be written to: the database is reopened
	stuck  atomic.Bool   // broken, and the old database cannot be closed nor asked

	counts counts
	said   said

	stop context.CancelFunc
	done chan struct{}
}

// Open opens the store in a directory, and makes it where it is not there. It replays
// the log of the last one that wrote there; a damaged tail of it is cut off, and a
// damaged block is put aside: Stats says so.
func Open(opt Options) (*DB, error) {
	if opt.Dir == "" {
		return nil, errors.New("opening the store: no directory was given")
	}
	opt = opt.withDefaults()
	if err := prepare(opt.Dir); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	lock, err := lockDir(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	db := &DB{opt: opt, log: opt.Logger, lock: lock, space: freeSpace, wake: make(chan struct{}, 1), done: make(chan struct{})}
	db.engine = newEngine(opt.Query)
	db.batches.New = func() any { return &Batch{} }
	// Replaying the log writes chunks, and the library panics where that fails.
	if err := db.room(); err != nil {
		lock.release()
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := db.openTSDB(); err != nil {
		lock.release()
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	db.stop = stop
	go db.run(ctx)
	return db, nil
}

func (o Options) withDefaults() Options {
	if o.Retention <= 0 {
		o.Retention = defaultRetention
	}
	if o.Reserve <= 0 {
		o.Reserve = defaultReserve
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// prepare makes the directory, and finds out early whether it can be written to: the
// library would say it less clearly.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written to: %w; give the user that runs this its directory, or choose another", dir, reason(err))
	}
	f.Close()
	return os.Remove(f.Name())
}

// reason is an error without the path that it names.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// tsdbOptions are those of the library. Its defaults are for a server with millions of
// series and gigabytes of memory; here are a few thousand series in a program that
// should not be noticed.
func (db *DB) tsdbOptions() *tsdb.Options {
	o := tsdb.DefaultOptions()
	o.RetentionDuration = db.opt.Retention.Milliseconds()
	o.MaxBytes = db.opt.MaxBytes
	o.MinBlockDuration = blockRange.Milliseconds()
	o.MaxBlockDuration = maxBlockRange.Milliseconds()
	// 16384 stripes of locks and maps take more than 2 MiB before the first series.
	o.StripeSize = 256
	// The buffer through which full chunks go to disk: 4 MiB by default, and the least
	// that the library takes is enough for ten thousand series.
	o.HeadChunksWriteBufferSize = 64 << 10
	// No queue: chunks are written by the upkeep, and not while a commit waits.
	o.HeadChunksWriteQueueSize = 0
	// Segments are what a truncated log frees, and what a repair writes anew: that must
	// fit into the reserve, and 128 MiB, the default, would be hours.
	o.WALSegmentSize = int(min(max(db.opt.Reserve/2, minSegment), maxSegment)) &^ (32<<10 - 1)
	// Records of one commit are alike; snappy halves them for little CPU.
	o.WALCompression = compression.Snappy
	// One writer: who asks while a commit is under way may see half of it, and saves the
	// list of transactions that each series would carry.
	o.IsolationDisabled = true
	// A chunk, and its entry in the index, cost 30 bytes besides its samples. Longer ones
	// would save less than the memory that the open chunk of each series takes.
	o.SamplesPerChunk = 240
	// No window for samples out of order. When the clock is set back, setFutureAside
	// begins a new head, and overlapping blocks are merged. The library's window keeps
	// what it took in a second log, and loses some of it when the process is killed
	// twice: it goes by the offset of a chunk file to see whether a chunk of the log was
	// written, and after the first kill the offsets are those of other files.
	o.OutOfOrderTimeWindow = 0
	o.EnableOverlappingCompaction = true
	// The lock is ours: it says who holds it, and outlives a reopening.
	o.NoLockfile = true
	// Reading the log back at full width would show as a spike of CPU at the start.
	o.WALReplayConcurrency = 1
	// The library's own loop would write chunks with the disk full, and panic in a
	// goroutine where nobody can recover. run does what it did.
	o.BlockReloadInterval = math.MaxInt64
	o.BlocksToDelete = db.blocksToDelete
	o.BlockCompactionExcludeFunc = db.tooLarge
	return o
}

// openTSDB opens the library's database in the directory. The caller holds mu, or is
// alone.
func (db *DB) openTSDB() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the database gave up: %v", p)
		}
	}()
	if err := db.recoverAside(); err != nil {
		return err
	}
	m := newMeters()
	t, err := tsdb.Open(db.opt.Dir, db.log, m, db.tsdbOptions(), nil)
	if err != nil {
		aside, e := db.putAsideCorrupt()
		if e != nil || aside == 0 {
			return err
		}
		m = newMeters()
		if t, err = tsdb.Open(db.opt.Dir, db.log, m, db.tsdbOptions(), nil); err != nil {
			return err
		}
	}
	t.DisableCompactions() // by the library's own loop
	if n := int64(m.walCorruptions()); n > 0 {
		db.counts.repairs.Add(n)
		db.log.Warn("the end of the store's log was damaged, and was cut off", "dir", db.opt.Dir)
	}
	db.tsdb, db.meters = t, m
	db.gen++
	db.writing.Lock()
	db.newest, db.behind = 0, 0
	if t.Head().NumSeries() > 0 {
		db.newest = t.Head().MaxTime()
	}
	db.writing.Unlock()
	db.broken.Store(false)
	db.stuck.Store(false)
	return nil
}

// putAsideCorrupt renames blocks that cannot be opened, so that one of them does not
// keep all others from being read, and returns how many these were.
func (db *DB) putAsideCorrupt() (int, error) {
	entries, err := os.ReadDir(db.opt.Dir)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range entries {
		if !isBlock(e.Name()) || !e.IsDir() {
			continue
		}
		dir := filepath.Join(db.opt.Dir, e.Name())
		b, err := tsdb.OpenBlock(db.log, dir, nil, nil)
		if err == nil {
			b.Close()
			continue
		}
		if err := os.Rename(dir, filepath.Join(db.opt.Dir, "damaged-"+e.Name())); err != nil {
			return n, err
		}
		db.log.Warn("a block of the store is damaged, and was put aside", "block", "damaged-"+e.Name(), "err", err)
		db.counts.damaged.Add(1)
		n++
	}
	return n, nil
}

// room says whether there is room to write.
func (db *DB) room() error {
	free, ok := db.space(db.opt.Dir)
	if !ok || free >= db.opt.Reserve {
		return nil
	}
	return &FullError{Dir: db.opt.Dir, Free: free, Need: db.opt.Reserve}
}

// plenty is so much room, in bytes, that nobody reckons what a block will take.
const plenty = 8 << 30

// roomFor says whether there is room for so many bytes besides the reserve: else each
// attempt to write a block would take the last of the room for a while, and keep what is
// new from being stored.
func (db *DB) roomFor(bytes func() int64) error {
	free, ok := db.space(db.opt.Dir)
	if !ok || free >= plenty {
		return nil
	}
	if need := db.opt.Reserve + bytes(); free < need {
		return &FullError{Dir: db.opt.Dir, Free: free, Need: need}
	}
	return nil
}

// tooLarge keeps a block from being made part of a larger one when there is no room for
// that. Three are merged as a rule.
func (db *DB) tooLarge(m *tsdb.BlockMeta) bool {
	return db.roomFor(func() int64 { return 4 * usage(filepath.Join(db.opt.Dir, m.ULID.String())).Total() }) != nil
}

// full makes a FullError of an error that stands for one, and nil of others.
func (db *DB) full(err error) *FullError {
	if !isFull(err) {
		return nil
	}
	free, ok := db.space(db.opt.Dir)
	if !ok {
		free = -1
	}
	return &FullError{Dir: db.opt.Dir, Free: free, Need: db.opt.Reserve, Err: reason(err)}
}

// run is the upkeep, until the store is closed.
func (db *DB) run(ctx context.Context) {
	defer close(db.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			db.upkeep(ctx)
		case <-db.wake:
			db.upkeep(ctx)
		}
	}
}

// upkeep is one round of what keeps the store in order. What fails is tried again in
// the next.
func (db *DB) upkeep(ctx context.Context) {
	err := db.room()
	if db.said.once(db.log, "full", "the store does nothing until there is room", err); err != nil {
		return
	}
	if db.broken.Load() {
		db.reopen()
	}
	if _, back := db.wentBack(); back {
		db.said.once(db.log, "future", "putting aside what is from the future", db.setFutureAside(ctx))
	}
	db.said.once(db.log, "compact", "compacting the store", db.compact(ctx))
}

// wentBack reports whether the clock was set back, and to when, in ms.
func (db *DB) wentBack() (int64, bool) {
	db.writing.Lock()
	defer db.writing.Unlock()
	return db.since, db.behind >= setBackCommits
}

// compact writes full chunks to disk, and the head's old part as a block, and makes
// large blocks of small ones.
func (db *DB) compact(ctx context.Context) (err error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.tsdb == nil || db.broken.Load() {
		return nil
	}
	defer db.survive(&err)
	db.tsdb.ForceHeadMMap()
	// A block takes what its chunks in the head take.
	if err := db.roomFor(func() int64 { return usage(db.opt.Dir).Head }); err != nil {
		return err
	}
	if err := db.tsdb.Compact(ctx); err != nil {
		return err
	}
	return db.forgetAside()
}

// survive makes an error of a panic. The library panics when it cannot write a chunk,
// with locks held: its database cannot be used any more, not even be closed.
func (db *DB) survive(err *error) {
	if p := recover(); p != nil {
		db.stuck.Store(true)
		db.broken.Store(true)
		*err = fmt.Errorf("the database gave up: %v", p)
	}
}

// reopen opens the database anew after it failed to write: its log may end in half a
// record, and what came after that would be lost with it. Opening cuts that off.
func (db *DB) reopen() {
	// A reader may take minutes, and who waits for the lock keeps others from reading.
	if !db.mu.TryLock() {
		return
	}
	defer db.mu.Unlock()
	if db.closed {
		return
	}
	if db.tsdb != nil && !db.stuck.Load() {
		if err := closeTSDB(db.tsdb); err != nil {
			db.log.Warn("closing the store after it failed", "err", err)
		}
	}
	db.counts.carry(db.meters)
	db.tsdb, db.meters = nil, nil
	if err := db.openTSDB(); err != nil {
		db.said.once(db.log, "reopen", "reopening the store", err)
		return
	}
	db.counts.reopened.Add(1)
	db.log.Info("the store writes again", "dir", db.opt.Dir)
}

func closeTSDB(t *tsdb.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the database gave up: %v", p)
		}
	}()
	return t.Close()
}

// Close writes what is pending and lets go of the directory.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	db.stop()
	<-db.done
	db.mu.Lock()
	defer db.mu.Unlock()
	var err error
	if db.tsdb != nil && !db.stuck.Load() {
		// Closing writes chunks; without room, the log has all that they hold.
		if err = db.room(); err == nil {
			err = closeTSDB(db.tsdb)
		}
	}
	db.tsdb = nil
	db.lock.release()
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// said logs an error when it appears or changes, and not each minute that it stays.
type said struct {
	mu   sync.Mutex
	last map[string]string
}

func (s *said) once(log *slog.Logger, key, doing string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]string{}
	}
	if err == nil || errors.Is(err, context.Canceled) {
		delete(s.last, key)
		return
	}
	// The amounts in an error change all the time; its words do not.
	text := strings.TrimRight(strings.SplitN(err.Error(), ":", 2)[0], "0123456789")
	if s.last[key] != text {
		s.last[key] = text
		log.Warn(doing, "err", err)
	}
}
