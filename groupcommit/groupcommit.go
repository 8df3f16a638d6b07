// Package groupcommit writes the records of many goroutines to one file, with one
// write and one fsync for all that came while the disk was busy.
//
//	w := groupcommit.New(file, groupcommit.Options{Sync: groupcommit.SyncBatch})
//	defer w.Close()
//
//	err := w.Append(ctx, record) // nil: it is on disk
//
// A record is written when the file is free: at once when nothing else goes on, and
// together with what others appended when a write or an fsync is under way. So one
// producer waits for one fsync, and sixty-four wait for one or two between them. No
// timer is in the way, unless Options.Delay asks for one.
//
// What is promised:
//   - The records of one goroutine are in the file in the order in which it wrote
//     them, each in one piece, and no batch ends inside one. (A crash of the machine
//     may still leave the start of a batch behind, as of any write: who reads the
//     file must know a torn record when it sees one.)
//   - Append returns nil only after the record is as durable as the policy says. After
//     a write or an fsync failed nothing claims success any more: what the kernel has
//     of the file then is not known, and an fsync that is tried again can succeed
//     without having written what the first one lost.
//   - The bytes that wait are bounded. Who comes when they are at the bound waits, in
//     the order of coming, or is refused.
//   - Close writes all that was accepted.
//
// By BenchmarkDurable, records of 200 bytes and an fsync for each, it is 24 times as fast
// as a lock around a bufio.Writer with 64 producers, 11 times with 16, 3.5 times with 4,
// and 0.88 times with one, which has two switches between goroutines to wait for. Where
// nothing needs to be on disk a lock is faster, unless the file stalls: for 50 ms a
// write, a producer is held for 52 ms by a lock, and for 0.04 ms by a Writer.
// docs/PRIMITIVES.md has all of it.
//
//	go test ./groupcommit -run '^$' -bench 'Durable|Append|Stall'
//
// The package does not rotate files, frame records or read them.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"
)

// A File is what records are written to; an [*os.File] is one. Its methods are
// called by one goroutine at a time.
type File interface {
	Write([]byte) (int, error)
	Sync() error
}

// A Policy says when the file is synced, and thereby what Append promises.
type Policy uint8

const (
	// SyncNever leaves it to the operating system: after Append the record survives
	// the process, not the machine.
	SyncNever Policy = iota
	// SyncBatch syncs after every batch: after Append the record survives the
	// machine, as far as the disk tells the truth.
	SyncBatch
	// SyncInterval syncs once in Options.Interval if something was written: Append
	// promises what it does under SyncNever, and the machine loses no more than the
	// interval.
	SyncInterval
)

// What the zero Options mean.
const (
	DefaultMaxBytes   = 4 << 20
	DefaultBatchBytes = 64 << 10
	DefaultInterval   = time.Second
)

// Options say how to write. With the zero value a batch is written when the file is
// free, and not synced.
type Options struct {
	// MaxBytes bounds what is queued, in bytes; 0 for DefaultMaxBytes. As much again
	// may be on its way to the file. A longer record is refused.
	MaxBytes int
	// Delay is how long a batch may wait for company while the file is free; 0 for
	// not at all. It saves writes where records are small and nobody waits for
	// them. Append and Sync do not wait for it.
	Delay time.Duration
	// BatchBytes ends the delay: a batch of so many bytes is written at once; 0 for
	// DefaultBatchBytes. Without Delay it means nothing.
	BatchBytes int
	Sync       Policy
	Interval   time.Duration // for SyncInterval; 0 for DefaultInterval
}

// What can go wrong, besides the errors of the file; test with [errors.Is].
var (
	ErrClosed   = errors.New("the writer is closed")
	ErrFull     = errors.New("the queue is full")
	ErrTooLarge = errors.New("the record is larger than the queue")
)

// A Writer collects records and writes them to a file. It is safe for concurrent use.
type Writer struct {
	file File
	opt  Options

	mu      sync.Mutex
	open    *batch // what is queued; never nil
	urgent  bool   // somebody waits for open: no delay
	waiting int    // producers that wait for room
	closed  bool
	err     error // of the file; never unset
	stats   Stats

	room chan struct{} // of capacity 1: who holds the token is the next to get room
	wake chan struct{} // of capacity 1: there is something to do
	end  chan struct{} // closed when the writing goroutine is gone
}

// A batch is what one write takes to the file.
type batch struct {
	data    []byte
	records int
	sync    bool          // somebody asked for an fsync, whatever the policy
	taken   chan struct{} // closed when it is no longer open
	done    chan struct{} // closed when it is written, and synced if so asked
	err     error         // of that; to be read after done
}

func newBatch(data []byte) *batch {
	return &batch{data: data[:0], taken: make(chan struct{}), done: make(chan struct{})}
}

// New returns a Writer to the file, and starts the goroutine that writes. It does
// not close the file.
func New(file File, o Options) *Writer {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	o.BatchBytes = min(o.BatchBytes, o.MaxBytes)
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	w := &Writer{
		file: file,
		opt:  o,
		open: newBatch(nil),
		room: make(chan struct{}, 1),
		wake: make(chan struct{}, 1),
		end:  make(chan struct{}),
	}
	go w.run()
	return w
}

// Append writes a record, and returns when it is in the file and, by SyncBatch, on
// disk. When ctx ends before, its error is returned, and the record may or may not
// come to be in the file. The record is copied.
func (w *Writer) Append(ctx context.Context, record []byte) error {
	b, err := w.enqueue(ctx, record, true, true)
	if err != nil {
		return err
	}
	return b.wait(ctx)
}

// Write queues a record, and returns when that is done: it waits only for room. Errors
// of the file come to light in a later call; Close returns them. The record is
// copied.
func (w *Writer) Write(record []byte) (int, error) {
	if _, err := w.enqueue(context.Background(), record, true, false); err != nil {
		return 0, err
	}
	return len(record), nil
}

// TryWrite queues a record if there is room for it at once, and returns ErrFull
// otherwise.
func (w *Writer) TryWrite(record []byte) error {
	_, err := w.enqueue(context.Background(), record, false, false)
	return err
}

// Sync returns when all that was queued before is in the file, and synced to disk
// whatever the policy is.
func (w *Writer) Sync(ctx context.Context) error {
	w.mu.Lock()
	if err := w.refusal(); err != nil {
		w.mu.Unlock()
		return err
	}
	b := w.open
	b.sync = true
	w.urgent = true
	w.mu.Unlock()
	w.poke()
	return b.wait(ctx)
}

// Close writes what was queued, syncs unless the policy is SyncNever, and ends the
// writing goroutine. It returns the first error that the file gave since New: nil
// means that all records are in the file. It waits for the file, however long that
// takes; call Sync before with a context to give up earlier.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	<-w.end
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// refusal says why nothing is accepted. The caller has the lock.
func (w *Writer) refusal() error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return fmt.Errorf("writing a record: %w", ErrClosed)
	}
	return nil
}

// enqueue adds a record to the open batch, and returns that batch.
func (w *Writer) enqueue(ctx context.Context, record []byte, wait, urgent bool) (*batch, error) {
	if len(record) > w.opt.MaxBytes {
		return nil, fmt.Errorf("writing a record of %d bytes: %w", len(record), ErrTooLarge)
	}
	w.mu.Lock()
	var b *batch
	err := w.refusal()
	if err == nil && w.waiting == 0 {
		b, err = w.add(record, urgent)
	}
	if b != nil || err != nil {
		w.mu.Unlock()
		return b, err
	}
	if !wait {
		w.stats.Refused++
		w.mu.Unlock()
		return nil, fmt.Errorf("writing a record of %d bytes: %w", len(record), ErrFull)
	}
	// Those who wait hold a token in turn, or a large record would wait for as long
	// as small ones come.
	w.waiting++
	w.stats.Waits++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.waiting--
		w.mu.Unlock()
	}()
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-w.room }()
	for {
		w.mu.Lock()
		b, err := w.add(record, urgent)
		taken := w.open.taken
		w.mu.Unlock()
		if b != nil || err != nil {
			return b, err
		}
		select {
		case <-taken:
		case <-w.end:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// add puts a record into the open batch; nil without an error is that there is no
// room. The caller has the lock.
func (w *Writer) add(record []byte, urgent bool) (*batch, error) {
	if err := w.refusal(); err != nil {
		return nil, err
	}
	b := w.open
	if len(b.data)+len(record) > w.opt.MaxBytes {
		// It may be short of BatchBytes, and nobody can add to it: no delay.
		w.urgent = true
		w.poke()
		return nil, nil
	}
	first := b.records == 0
	before := len(b.data)
	b.data = append(b.data, record...)
	b.records++
	w.stats.Records++
	w.stats.QueuedBytes = int64(len(b.data))
	w.stats.PeakBytes = max(w.stats.PeakBytes, w.stats.QueuedBytes)
	full := before < w.opt.BatchBytes && len(b.data) >= w.opt.BatchBytes
	if first || full || urgent && !w.urgent {
		w.urgent = w.urgent || urgent
		w.poke()
	}
	return b, nil
}

// poke wakes the writing goroutine.
func (w *Writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (b *batch) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	select {
	case <-b.done: // both; that it is done is the better news
		return b.err
	default:
		return context.Cause(ctx)
	}
}

// roomyBatches is after how many batches in a row a buffer is given up that was much
// larger than they.
const roomyBatches = 32

// run writes batches until the writer is closed and nothing is left, or the file
// fails.
func (w *Writer) run() {
	defer close(w.end)
	var b *batch
	ended := false
	defer func() {
		if !ended { // runtime.Goexit, which nothing recovers from
			w.abandon(b, errors.New("writing records: the file ended the goroutine that writes"))
		}
	}()
	var (
		spare []byte       // the buffer of the last batch, for the next but one
		roomy int          // batches in a row that filled less than a quarter of theirs
		dirty bool         // written since the last sync
		delay = newAlarm() // the end of the open batch's delay
		tick  = newAlarm() // when SyncInterval syncs next
	)
	defer delay.stop()
	defer tick.stop()
	for {
		delayed, ticked := false, false
		select {
		case <-w.wake:
		case <-delay.C:
			delay.set, delayed = false, true
		case <-tick.C:
			tick.set, ticked = false, true
		}
		var early, last bool
		b, early, last = w.take(delayed, spare)
		if early {
			delay.start(w.opt.Delay)
		}
		if b != nil {
			spare = nil
			delay.stop()
		}
		if err := w.commit(b, &dirty, ticked || last && w.opt.Sync != SyncNever); err != nil {
			ended = true
			w.abandon(b, err)
			return
		}
		if dirty && w.opt.Sync == SyncInterval {
			tick.start(w.opt.Interval)
		}
		if b != nil {
			spare = b.data
			// What was one large burst should not stay in memory.
			if cap(spare) <= w.opt.BatchBytes || len(spare) >= cap(spare)/4 {
				roomy = 0
			} else if roomy++; roomy == roomyBatches {
				spare, roomy = nil, 0
			}
			b.data = nil
			close(b.done)
			b = nil
			// Those who waited go first, so that what they append next is in the next
			// batch, and not in the one after it: otherwise two halves of the producers
			// take turns, each waiting for the other's fsync.
			runtime.Gosched()
		}
		if last {
			ended = true
			return
		}
	}
}

// take returns the batch that is to be written now, nil for none; whether it is early
// for the one that there is; and whether it is the last, since the writer is closed.
func (w *Writer) take(delayed bool, spare []byte) (b *batch, early, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b = w.open
	if !w.closed {
		if b.records == 0 && !b.sync {
			return nil, false, false
		}
		if w.opt.Delay > 0 && !delayed && !w.urgent && len(b.data) < w.opt.BatchBytes {
			return nil, true, false
		}
	}
	w.open = newBatch(spare)
	w.urgent = false
	w.stats.QueuedBytes = 0
	close(b.taken)
	return b, false, w.closed
}

// commit writes a batch, if there is one, and syncs the file where that is due.
func (w *Writer) commit(b *batch, dirty *bool, force bool) error {
	var wrote, synced time.Duration
	if b != nil && b.records > 0 {
		start := time.Now()
		if err := guarded(func() error { return write(w.file, b.data) }); err != nil {
			return fmt.Errorf("writing %d records: %w", b.records, err)
		}
		*dirty = true
		wrote = time.Since(start)
	}
	sync := b != nil && b.sync || *dirty && (force || w.opt.Sync == SyncBatch)
	if sync {
		start := time.Now()
		if err := guarded(w.file.Sync); err != nil {
			return fmt.Errorf("syncing records to disk: %w", err)
		}
		*dirty = false
		synced = time.Since(start)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b != nil && b.records > 0 {
		w.stats.Batches++
		w.stats.Bytes += uint64(len(b.data))
		w.stats.Writing += wrote
	}
	if sync {
		w.stats.Syncs++
		w.stats.Syncing += synced
	}
	return nil
}

// write is Write, of which a part is a failure even where it claims none.
func write(f io.Writer, data []byte) error {
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// guarded makes a panic of the file's own code an error: it would end the process,
// from a goroutine that the service cannot guard.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file panicked: %v", r)
		}
	}()
	return f()
}

// abandon says to all that wait, and all that will come, that the file failed.
func (w *Writer) abandon(b *batch, err error) {
	w.mu.Lock()
	w.err = err
	open := w.open
	w.stats.Lost += uint64(open.records)
	w.stats.QueuedBytes = 0
	if b != nil {
		w.stats.Lost += uint64(b.records)
	}
	w.mu.Unlock()
	if b != nil {
		b.err = err
		close(b.done)
	}
	open.err = err
	close(open.taken)
	close(open.done)
}

// An alarm is a timer that knows whether it is set.
type alarm struct {
	*time.Timer
	set bool
}

func newAlarm() *alarm {
	a := &alarm{Timer: time.NewTimer(time.Hour)}
	a.Stop()
	return a
}

func (a *alarm) start(d time.Duration) {
	if !a.set {
		a.Reset(d)
		a.set = true
	}
}

func (a *alarm) stop() {
	a.Stop()
	a.set = false
}
