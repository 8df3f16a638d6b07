package recorder

import (
	"io"

	"github.com/heapwright/heapwright/groupcommit"
	"github.com/heapwright/heapwright/record"
)

// A File is a Sink that writes a recording on a goroutine of its own: a disk that is
// slow for a while does not hold up the samples. What it cannot take at once waits in
// memory, at most fileQueue bytes of it, which is minutes of a recording; beyond that
// samples wait for the disk.
//
// Flush hands what there is to that goroutine, which writes it as soon as the disk
// takes it. So an error of the disk is that of a later call, and of Close at the
// latest.
type File struct {
	*record.Writer
	queue *queue
}

const fileQueue = 4 << 20

// NewFile returns a File that writes to w. It starts nothing before there is
// something to write.
func NewFile(w io.Writer) *File {
	q := &queue{out: w}
	return &File{record.NewWriter(q), q}
}

// Close marks the recording as whole, and returns when all of it is written. It does
// not close the underlying writer.
func (f *File) Close() error {
	err := f.Writer.Close()
	if qerr := f.queue.close(); qerr != nil {
		return qerr // err is this one, or what came of it
	}
	return err
}

// A queue is the writing goroutine, once there is something to write.
type queue struct {
	out io.Writer
	w   *groupcommit.Writer
}

func (q *queue) Write(b []byte) (int, error) {
	if q.w == nil {
		q.w = groupcommit.New(unsynced{q.out}, groupcommit.Options{MaxBytes: fileQueue})
	}
	// A profile can be larger than the queue. It is one writer that writes: what
	// is cut stays together.
	done := 0
	for done < len(b) {
		n, err := q.w.Write(b[done:min(len(b), done+fileQueue/4)])
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

func (q *queue) close() error {
	if q.w == nil {
		return nil
	}
	return q.w.Close()
}

// unsynced leaves it to the kernel when a recording comes to disk.
type unsynced struct{ io.Writer }

func (unsynced) Sync() error { return nil }
