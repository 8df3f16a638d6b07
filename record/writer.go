package record

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Schema is the version of the file format that this package writes and reads.
// Within it lines may gain keys and kinds of lines may be added; readers ignore
// what they do not know.
const Schema = "heapwright.recording/1"

// The values of a line's "kind".
const (
	kindHeader     = "heapwright-recording"
	kindProcess    = "process"
	kindSample     = "sample"
	kindCycle      = "cycle"
	kindEvent      = "event"
	kindGoroutines = "goroutines"
	kindProfile    = "profile"
	kindEnd        = "end"
)

// A Writer flushes by itself when this much was written, or the samples since
// the last flush cover this much time.
const (
	flushBytes = 256 << 10
	flushTime  = time.Second
)

// A Writer writes a recording: lines of JSON inside gzip members (RFC 1952),
// one after the other. Each flush ends a member and hands it to the underlying
// writer in one Write, so that a recorder that is killed leaves a readable
// file, which lacks at most the last second.
//
// A Writer is not safe for concurrent use. After an error of the underlying
// writer every method returns that error; a value that can't be encoded is
// left out, reported, and harms nothing else.
type Writer struct {
	w       io.Writer
	gz      *gzip.Writer
	member  bytes.Buffer // the compressed member so far
	line    []byte
	pending int       // bytes of lines in the member, 0 when none is open
	since   time.Time // first sample in the member
	header  bool      // written
	process bool      // written
	err     error
}

// NewWriter returns a Writer that writes to w. Nothing is written before the
// first Flush.
func NewWriter(w io.Writer) *Writer {
	gz, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only on an unknown level
	return &Writer{w: w, gz: gz}
}

// Process starts the life of a process: what follows is about it. Every
// recording begins with one, and a restart of the process is another.
func (w *Writer) Process(p Process) error {
	err := w.marshal(kindProcess, &p)
	if err == nil {
		w.process = true
	}
	return err
}

// Sample writes a sample. It does not allocate in steady state.
func (w *Writer) Sample(s *Sample) error {
	if err := w.begin(kindSample); err != nil {
		return err
	}
	var err error
	if w.line, err = s.appendMembers(w.line, 0); err != nil {
		return err
	}
	if err := w.writeLine(); err != nil {
		return err
	}
	if w.since.IsZero() {
		w.since = s.Time
	}
	if s.Time.Sub(w.since).Abs() >= flushTime {
		return w.Flush()
	}
	return nil
}

// Cycle writes a GC cycle.
func (w *Writer) Cycle(c *Cycle) error {
	if err := w.begin(kindCycle); err != nil {
		return err
	}
	var err error
	if w.line, err = c.appendMembers(w.line, 0); err != nil {
		return err
	}
	return w.writeLine()
}

// Event writes an event.
func (w *Writer) Event(e *Event) error { return w.marshal(kindEvent, e) }

// Goroutines writes a snapshot of the goroutines.
func (w *Writer) Goroutines(g *Goroutines) error { return w.marshal(kindGoroutines, g) }

// Profile writes a profile.
func (w *Writer) Profile(p *Profile) error { return w.marshal(kindProfile, p) }

// begin starts a line of the given kind in w.line.
func (w *Writer) begin(kind string) error {
	if w.err != nil {
		return w.err
	}
	if !w.process && kind != kindProcess && kind != kindEnd {
		return fmt.Errorf("writing a recording: %s before any process", kind)
	}
	w.line = append(w.line[:0], `{"kind":"`...)
	w.line = append(w.line, kind...)
	w.line = append(w.line, `",`...)
	return nil
}

// marshal writes a line of the given kind with what encoding/json makes of v,
// an object of at least one member.
func (w *Writer) marshal(kind string, v any) error {
	if err := w.begin(kind); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing a recording: %s: %w", kind, err)
	}
	w.line = append(w.line, b[1:]...)
	return w.writeLine()
}

// writeLine puts w.line into the member.
func (w *Writer) writeLine() error {
	w.line = append(w.line, '\n')
	if len(w.line) > maxLine {
		return fmt.Errorf("writing a recording: %w", &LimitError{"bytes in a line", maxLine})
	}
	if w.pending == 0 {
		w.gz.Reset(&w.member)
	}
	// Writing to a buffer does not fail, and neither does gzip on its own.
	if !w.header {
		n, _ := fmt.Fprintf(w.gz, "{\"kind\":%q,\"schema\":%q}\n", kindHeader, Schema)
		w.pending += n
		w.header = true
	}
	n, _ := w.gz.Write(w.line)
	w.pending += n
	if cap(w.line) > flushBytes {
		w.line = nil // a profile now and then should not stay in memory
	}
	if w.pending >= flushBytes {
		return w.Flush()
	}
	return nil
}

// Flush hands everything that was written so far to the underlying writer, in
// such a form that it can be read even if nothing follows.
func (w *Writer) Flush() error {
	if w.err != nil || w.pending == 0 {
		return w.err
	}
	w.gz.Close()
	w.pending, w.since = 0, time.Time{}
	if _, err := w.w.Write(w.member.Bytes()); err != nil {
		w.err = fmt.Errorf("writing a recording: %w", err)
	}
	if w.member.Cap() > flushBytes {
		w.member = bytes.Buffer{}
	}
	w.member.Reset()
	return w.err
}

// Close marks the recording as whole and flushes it. It does not close the
// underlying writer. A Writer can't be used after Close.
func (w *Writer) Close() error {
	if err := w.begin(kindEnd); err != nil {
		return err
	}
	w.line = append(w.line[:len(w.line)-1], '}')
	if err := w.writeLine(); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	w.err = errors.New("writing a recording: it is closed")
	return nil
}
