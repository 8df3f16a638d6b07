package record

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line that is written, and read unless Limits say
// otherwise.
const maxLine = 32 << 20

// Limits bound what a Reader accepts: a recording may come from anywhere. A
// field that is zero means its default.
type Limits struct {
	LineBytes  int   // longest line; 32 MiB
	TotalBytes int64 // of all lines together, expanded; 16 GiB

	// What ReadAll keeps. Of more samples than fit it keeps every second, then
	// every fourth, and so on; of the others more than fit is a LimitError.
	Samples    int // per recording; 20,000, which is half an hour at 10 Hz and 170 MB
	Cycles     int // of all recordings; 2,000,000
	Events     int // of all recordings; 1,000,000
	Recordings int // 10,000
	// KeptBytes bounds the lines of processes, events, goroutines and profiles,
	// whose texts can be long; 1 GiB.
	KeptBytes int64
	// Objects is how many JSON objects (frames, groups, sites) there may be in
	// the goroutines and profiles of all recordings; 8,000,000.
	Objects int
}

func (l *Limits) setDefaults() {
	setDefault(&l.LineBytes, maxLine)
	setDefault(&l.TotalBytes, 16<<30)
	setDefault(&l.Samples, 20_000)
	setDefault(&l.Cycles, 2_000_000)
	setDefault(&l.Events, 1_000_000)
	setDefault(&l.Recordings, 10_000)
	setDefault(&l.KeptBytes, 1<<30)
	setDefault(&l.Objects, 8_000_000)
}

func setDefault[T int | int64](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// An Item is one line of a recording; one of its fields is set.
type Item struct {
	Process    *Process // a life begins; the items after it belong to it
	Sample     *Sample  // valid until the next call of Next
	Cycle      *Cycle
	Event      *Event
	Goroutines *Goroutines
	Profile    *Profile

	header, skip bool
}

// A Reader reads a recording line by line, with memory for one line. It
// accepts what a Writer wrote, several of that one after the other, and the
// same lines without compression.
type Reader struct {
	limits    Limits
	src       *source
	lines     *bufio.Reader // of JSON
	line      []byte        // the current line
	n         int64         // its number, from 1
	left      int64         // how much may still be read
	objects   int           // how many may still be decoded
	sample    Sample
	process   bool // there was one
	ended     bool // the last line said that the recording is whole
	truncated string
	err       error // what Next returns from now on
}

// A source counts what is read from a recording's file, so that an error can
// say where it is. A gzip reader takes no more from it than it needs.
type source struct {
	r    *bufio.Reader
	read int64
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.read += int64(n)
	return n, err
}

func (s *source) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.read++
	}
	return b, err
}

// NewReader returns a Reader for the recording in r. It reads the first line:
// the error is a *NotRecordingError or a *SchemaError when it is not what this
// version can read, or an error of r.
func NewReader(r io.Reader, limits Limits) (*Reader, error) {
	limits.setDefaults()
	src := &source{r: bufio.NewReader(r)}
	rd := &Reader{limits: limits, src: src, left: limits.TotalBytes, objects: limits.Objects}

	magic, err := src.r.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading a recording: %w", err)
	}
	switch {
	case len(magic) == 0:
		return nil, &NotRecordingError{"it is empty", "was the recorder stopped before its first second?"}
	case magic[0] == '{':
		rd.lines = bufio.NewReader(src)
	case len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		gz, err := gzip.NewReader(src)
		if err != nil {
			return nil, rd.notRecording(err)
		}
		rd.lines = bufio.NewReader(gz)
	case len(magic) == 1 && magic[0] == 0x1f:
		return nil, rd.notRecording(io.ErrUnexpectedEOF)
	default:
		return nil, &NotRecordingError{"it begins neither with a gzip header nor with JSON", "recordings are written by \"heapwright record\""}
	}

	// The first line is short. Do not look far for its end in what may be
	// something else altogether.
	rd.limits.LineBytes = min(limits.LineBytes, 64<<10)
	err = rd.readLine()
	rd.limits.LineBytes = limits.LineBytes
	if err == nil {
		_, err = rd.decode()
	}
	var schema *SchemaError
	switch {
	case errors.As(err, &schema):
		return nil, schema
	case err != nil:
		return nil, rd.notRecording(err)
	}
	return rd, nil
}

// notRecording explains an error in the first line.
func (r *Reader) notRecording(err error) error {
	var not *NotRecordingError
	var limit *LimitError
	switch {
	case errors.As(err, &not):
		return not
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return &NotRecordingError{"it ends before its first line does", "the recorder was killed at once, or the file was cut"}
	case isCorrupt(err) || errors.As(err, &limit):
		return &NotRecordingError{"it does not begin with the header line of a recording", "pprof profiles and execution traces are other formats"}
	}
	return fmt.Errorf("reading a recording: %w", err)
}

// Next returns the next line that holds something. At the end it returns
// io.EOF; Truncated then says whether that is the end of the recording. Other
// errors are a *CorruptError, a *LimitError, a *SchemaError where a recording of
// another version was appended, or an error of the underlying reader. After an
// error it returns the same again.
func (r *Reader) Next() (Item, error) {
	for {
		item, err := r.next()
		if err != nil || !item.header && !item.skip {
			return item, err
		}
	}
}

func (r *Reader) next() (Item, error) {
	if r.err != nil {
		return Item{}, r.err
	}
	err := r.readLine()
	var item Item
	if err == nil {
		item, err = r.decode()
	}
	if err == nil {
		return item, nil
	}
	var limit *LimitError
	var schema *SchemaError
	switch {
	case err == io.EOF && r.ended:
	case err == io.EOF:
		r.truncated = "it has no end: the recorder was killed, or is still running"
	case err == io.ErrUnexpectedEOF:
		r.truncated, err = "it ends in the middle of a line or of a gzip member: it was cut", io.EOF
	case errors.As(err, &limit) || errors.As(err, &schema):
	case isCorrupt(err):
		err = &CorruptError{Line: r.n, Offset: r.src.read, Err: err}
	default:
		err = fmt.Errorf("reading a recording: %w", err)
	}
	r.err = err
	return Item{}, err
}

// Truncated says why the end of the recording is missing, "" when it is whole.
// It is known once Next returned io.EOF.
func (r *Reader) Truncated() string { return r.truncated }

// A lineError is one in what a line says.
type lineError struct{ err error }

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// isCorrupt reports whether err is about the bytes of the recording.
func isCorrupt(err error) bool {
	var line *lineError
	var deflate flate.CorruptInputError
	return errors.As(err, &line) || errors.As(err, &deflate) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum)
}

// readLine reads the next line into r.line, without its end. It returns io.EOF
// at the end, and io.ErrUnexpectedEOF when that is not where a line or a gzip
// member ends.
func (r *Reader) readLine() error {
	r.line = r.line[:0]
	r.n++
	for {
		part, err := r.lines.ReadSlice('\n')
		r.left -= int64(len(part))
		if r.left < 0 {
			return &LimitError{"bytes", r.limits.TotalBytes}
		}
		if len(r.line)+len(part) > r.limits.LineBytes {
			return &LimitError{"bytes in a line", int64(r.limits.LineBytes)}
		}
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			r.line = r.line[:len(r.line)-1]
			return nil
		case err == io.EOF && len(r.line) > 0:
			return io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return err
		}
	}
}

// decode decodes r.line.
func (r *Reader) decode() (Item, error) {
	if !json.Valid(r.line) {
		return Item{}, &lineError{errors.New("not JSON")}
	}
	var kind string
	errFound := errors.New("found")
	err := members(r.line, func(key, value []byte) error {
		if string(key) != "kind" {
			return nil
		}
		if err := json.Unmarshal(value, &kind); err != nil {
			return err
		}
		return errFound
	})
	if err != nil && err != errFound {
		return Item{}, &lineError{err}
	}

	if r.n == 1 && kind != kindHeader {
		return Item{}, &NotRecordingError{"its first line is not the header of a recording", "recordings are written by \"heapwright record\""}
	}
	r.ended = false
	var item Item
	switch kind {
	case kindHeader:
		var header struct {
			Schema string `json:"schema"`
		}
		if err := json.Unmarshal(r.line, &header); err != nil {
			return Item{}, &lineError{err}
		}
		if header.Schema != Schema {
			return Item{}, &SchemaError{Got: header.Schema, Supported: Schema}
		}
		r.process = false
		return Item{header: true}, nil
	case kindEnd:
		r.ended = true
		return Item{skip: true}, nil
	case kindProcess:
		r.process = true
		item.Process = new(Process)
		err = json.Unmarshal(r.line, item.Process)
	case kindSample:
		item.Sample = &r.sample
		err = r.sample.decode(r.line)
	case kindCycle:
		item.Cycle = new(Cycle)
		err = json.Unmarshal(r.line, item.Cycle)
	case kindEvent:
		item.Event = new(Event)
		err = json.Unmarshal(r.line, item.Event)
	case kindGoroutines, kindProfile:
		// A few bytes of JSON can make a large value: bound them by number.
		if r.objects -= bytes.Count(r.line, []byte{'{'}); r.objects < 0 {
			return Item{}, &LimitError{"objects in goroutines and profiles", int64(r.limits.Objects)}
		}
		if kind == kindProfile {
			item.Profile = new(Profile)
			err = json.Unmarshal(r.line, item.Profile)
		} else {
			item.Goroutines = new(Goroutines)
			err = json.Unmarshal(r.line, item.Goroutines)
		}
	default: // of a later version
		return Item{skip: true}, nil
	}
	if err == nil && !r.process {
		err = fmt.Errorf("%s before any process", kind)
	}
	if err != nil {
		return Item{}, &lineError{err}
	}
	return item, nil
}

// ReadAll reads all of a recording into memory, with the default Limits: one
// Recording for each life of a process, in the order of the file.
//
// A recording that was cut is not an error: its last Recording says so in
// Truncated. With any error it returns what was read before it, and the reason
// is in Truncated too.
func ReadAll(r io.Reader) ([]*Recording, error) {
	rd, err := NewReader(r, Limits{})
	if err != nil {
		return nil, err
	}
	return rd.ReadAll()
}

// ReadAll reads what is left of the recording, as the function does.
func (r *Reader) ReadAll() ([]*Recording, error) {
	var all []*Recording
	var now *Recording // the last of all
	var thin thinner
	cycles, events, kept := 0, 0, int64(0)
	whole := true // the recording so far, when another header comes
	for {
		item, err := r.next()
		if now != nil && (err != nil || item.header || item.Process != nil) {
			thin.finish(now)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			if now != nil {
				now.Truncated = r.truncated
				if err != nil {
					now.Truncated = err.Error()
				}
			}
			if err == nil && len(all) == 0 {
				err = &NotRecordingError{"there is no process in it", "was the recorder stopped before its first second?"}
			}
			return all, err
		}
		if item.Process != nil || item.Event != nil || item.Goroutines != nil || item.Profile != nil {
			if kept += int64(len(r.line)); kept > r.limits.KeptBytes {
				r.err = &LimitError{"bytes to keep", r.limits.KeptBytes}
				continue
			}
		}
		switch {
		case item.skip:
			whole = r.ended
			continue
		case item.header:
			if now != nil && !whole {
				now.Truncated = "it has no end: the recorder was killed"
			}
			now = nil
		case item.Process != nil:
			if len(all) == r.limits.Recordings {
				r.err = &LimitError{"processes", int64(r.limits.Recordings)}
				continue
			}
			now = &Recording{Process: *item.Process}
			all = append(all, now)
			thin = thinner{max: max(r.limits.Samples, 2), stride: 1}
		case item.Sample != nil:
			thin.add(now, item.Sample)
		case item.Cycle != nil:
			now.Cycles = append(now.Cycles, *item.Cycle)
			if cycles++; cycles > r.limits.Cycles {
				r.err = &LimitError{"cycles", int64(r.limits.Cycles)}
			}
		case item.Event != nil:
			now.Events = append(now.Events, *item.Event)
			if events++; events > r.limits.Events {
				r.err = &LimitError{"events", int64(r.limits.Events)}
			}
		case item.Goroutines != nil:
			now.Goroutines = append(now.Goroutines, *item.Goroutines)
		case item.Profile != nil:
			now.Profiles = append(now.Profiles, *item.Profile)
		}
		whole = false
	}
}

// A thinner appends samples to a Recording and keeps every stride-th of them,
// and the last.
type thinner struct {
	max, stride int
	seen        int
	last        Sample
	pending     bool // last was not appended
}

func (t *thinner) add(r *Recording, s *Sample) {
	keep := t.seen%t.stride == 0
	t.seen++
	if !keep {
		t.last, t.pending = *s, true
		return
	}
	if len(r.Samples) == t.max {
		for i := range (t.max + 1) / 2 {
			r.Samples[i] = r.Samples[2*i]
		}
		r.Samples = r.Samples[:(t.max+1)/2]
		t.stride *= 2
		r.Thinned = t.stride
		if (t.seen-1)%t.stride != 0 {
			t.last, t.pending = *s, true
			return
		}
	}
	r.Samples = append(r.Samples, *s)
	t.pending = false
}

// finish appends the last sample, so that the recording is as long as it was.
func (t *thinner) finish(r *Recording) {
	if t.pending {
		r.Samples = append(r.Samples, t.last)
		t.pending = false
	}
}
