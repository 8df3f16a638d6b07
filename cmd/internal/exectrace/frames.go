package exectrace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The bytes that begin the parts of a trace (internal/trace/tracev2/events.go, Go
// 1.27): a batch of events of one thread, one of an experiment, and, since Go 1.26,
// the end of a generation.
const (
	evEventBatch        = 1
	evExperimentalBatch = 49
	evEndOfGeneration   = 52

	maxBatch = 64 << 10 // tracev2.MaxBatchSize
)

// maxThreads bounds the threads of a trace: the runtime stops a program that has
// more than 10000 unless it says otherwise (runtime/debug.SetMaxThreads).
const maxThreads = 1 << 17

// errGeneration is why a trace whose generation is too long is not read on.
type errGeneration struct{ limit int64 }

func (e *errGeneration) Error() string {
	return fmt.Sprintf("a generation of the trace is longer than %d MiB, and has to be in memory at once", e.limit>>20)
}

// frames passes a trace through, and sees to it that no generation is longer than
// allowed: what comes behind it keeps one in memory.
type frames struct {
	r      *bufio.Reader
	limit  int64
	format int

	buf     []byte // of the current part
	at      int    // of buf, what was handed out
	err     error  // after buf
	gen     uint64
	size    int64 // of this generation
	threads map[uint64]struct{}

	read        int64
	largest     int64
	generations int
}

// formats are those that can be read, by the Go release that brought each.
var formats = map[int]bool{22: true, 23: true, 25: true, 26: true}

const supported = "traces of Go 1.22 to 1.27 can be read"

// newFrames reads the head of a trace.
func newFrames(r io.Reader, limit int64) (*frames, error) {
	f := &frames{r: bufio.NewReaderSize(r, 256<<10), limit: limit, threads: map[uint64]struct{}{}}
	head := make([]byte, 16)
	n, err := io.ReadFull(f.r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("reading the execution trace: %w", err)
	}
	var minor int
	switch text := string(head[:n]); {
	case n == 0:
		return nil, &FormatError{"it is empty", supported}
	case !strings.HasPrefix(text, "go 1."):
		return nil, &FormatError{"it does not begin as one: no Go execution trace", "make one with runtime/trace, go test -trace, or GET /debug/pprof/trace?seconds=5; " + supported}
	case n < len(head):
		return nil, &FormatError{"it ends within its head", supported}
	default:
		if _, err := fmt.Sscanf(text, "go 1.%d trace\x00\x00\x00", &minor); err != nil {
			return nil, &FormatError{"its head is not that of a Go execution trace", supported}
		}
	}
	switch {
	case minor < 22:
		return nil, &FormatError{fmt.Sprintf("it is in the format of Go 1.%d", minor), supported + ": build the program with Go 1.22 or later, or open this one with its own go tool trace"}
	case !formats[minor]:
		return nil, &FormatError{fmt.Sprintf("it is in the format of Go 1.%d, which this version of heapwright does not know", minor), supported}
	}
	f.format, f.buf, f.read = minor, head, int64(n)
	return f, nil
}

func (f *frames) Read(p []byte) (int, error) {
	if f.at == len(f.buf) {
		if f.err == nil {
			f.err = f.next()
		}
		if f.at == len(f.buf) {
			return 0, f.err
		}
	}
	n := copy(p, f.buf[f.at:])
	f.at += n
	return n, nil
}

// next reads one part into buf. What it read of one that is cut short is in buf.
func (f *frames) next() error {
	f.buf, f.at = f.buf[:0], 0
	defer func() { f.read += int64(len(f.buf)) }()
	kind, err := f.byte()
	if err != nil {
		return err
	}
	switch kind {
	case evEndOfGeneration:
		f.gen, f.size = 0, 0
		return nil
	case evExperimentalBatch:
		if _, err := f.byte(); err != nil {
			return cut(err)
		}
	case evEventBatch:
	default:
		return fmt.Errorf("a part of unknown kind %d", kind)
	}
	var head [4]uint64 // generation, thread, time, size
	for i := range head {
		if head[i], err = binary.ReadUvarint(byteReader{f}); err != nil {
			return cut(err)
		}
	}
	gen, thread, size := head[0], head[1], head[3]
	if size > maxBatch {
		return fmt.Errorf("a batch of %d bytes, where at most %d are possible", size, maxBatch)
	}
	if _, ok := f.threads[thread]; !ok {
		if len(f.threads) == maxThreads {
			return fmt.Errorf("more than %d threads", maxThreads)
		}
		f.threads[thread] = struct{}{}
	}
	if gen != f.gen {
		f.gen, f.size = gen, 0
		f.generations++
	}
	was := len(f.buf)
	f.buf = append(f.buf, make([]byte, size)...)
	n, err := io.ReadFull(f.r, f.buf[was:])
	f.buf = f.buf[:was+n]
	if err != nil {
		return cut(err)
	}
	f.size += int64(len(f.buf))
	f.largest = max(f.largest, f.size)
	if f.size > f.limit {
		return &errGeneration{f.limit}
	}
	return nil
}

// cut is the end of a trace at a place where it cannot end.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// byte reads a byte into buf.
func (f *frames) byte() (byte, error) {
	b, err := f.r.ReadByte()
	if err == nil {
		f.buf = append(f.buf, b)
	}
	return b, err
}

// A byteReader reads what is kept.
type byteReader struct{ f *frames }

func (b byteReader) ReadByte() (byte, error) { return b.f.byte() }
