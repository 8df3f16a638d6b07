package gctrace

import (
	"bytes"
	"io"
)

// A Splitter is a writer for a program's standard error. It takes the lines of
// the trace out and forwards everything else, byte for byte and in order.
//
// Only a complete line that is exactly one of the trace's is taken. The program
// writes to the same pipe, and the runtime prints a line in many small writes:
// a line that is mixed with others, or that does not begin a line, is
// forwarded as it is. Bytes are held back only while they may still become a
// line of the trace, which is never more than a few hundred of them.
//
// A Splitter is not safe for concurrent use.
type Splitter struct {
	// Trace is called with each line of the trace, with its newline. The line
	// is valid during the call.
	Trace func(line []byte)
	// Forward says to forward the lines of the trace too.
	Forward bool

	w      io.Writer
	held   []byte // the beginning of what may be a line of the trace
	inLine bool   // inside a line that is none
	err    error
}

// NewSplitter returns a Splitter that forwards to w.
func NewSplitter(w io.Writer, trace func(line []byte)) *Splitter {
	return &Splitter{Trace: trace, w: w}
}

// Write takes the next part of the program's output. An error is one of the
// underlying writer, which is not written to again; the trace is still read.
func (s *Splitter) Write(p []byte) (int, error) {
	n := len(p)
	own := 0 // p[:own] is the program's, and not forwarded yet
	for own < len(p) {
		rest := p[own:]
		end := bytes.IndexByte(rest, '\n') + 1
		if s.inLine {
			if end == 0 {
				own = len(p)
				break
			}
			own += end
			s.inLine = false
			continue
		}
		part := rest
		if end > 0 {
			part = rest[:end]
		}
		// A line begins, with what is held or here.
		var l line
		candidate := part
		if len(s.held) > 0 {
			s.held = append(s.held, part[:min(len(part), maxLine)]...)
			candidate = s.held
		}
		switch scan(candidate, &l) {
		case whole:
			s.forward(p[:own])
			if s.Trace != nil {
				s.Trace(candidate)
			}
			if s.Forward {
				s.forward(candidate)
			}
			s.held = s.held[:0]
			p, own = p[own+len(part):], 0
		case begun:
			s.forward(p[:own])
			if len(s.held) == 0 {
				s.held = append(s.held, part...)
			}
			p, own = p[own+len(part):], 0
		default:
			if len(s.held) > 0 {
				s.held = s.held[:len(s.held)-min(len(part), maxLine)]
				s.forward(s.held)
				s.held = s.held[:0]
			}
			own += len(part)
			s.inLine = end == 0
		}
	}
	s.forward(p[:own])
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// maxLine is longer than any line of the trace.
const maxLine = 1024

// Flush forwards what is held back. Call it when the program has ended.
func (s *Splitter) Flush() error {
	s.inLine = s.inLine || len(s.held) > 0
	s.forward(s.held)
	s.held = s.held[:0]
	return s.err
}

func (s *Splitter) forward(p []byte) {
	if s.err == nil && len(p) > 0 {
		_, s.err = s.w.Write(p)
	}
}
