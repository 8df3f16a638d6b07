package web

import (
	"context"
	"net/http"
	"time"
)

const (
	// writeTime is what a client has to take a piece of writePiece bytes. One that is
	// slower is cut off: what is being sent to it is held in memory.
	writeTime  = 10 * time.Second
	writePiece = 64 << 10
)

// paced writes in pieces, each of which must be taken in time. How long an answer takes
// as a whole is not bounded: it may be computed for minutes, or be a stream.
type paced struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
}

func newPaced(w http.ResponseWriter) *paced {
	return &paced{ResponseWriter: w, control: http.NewResponseController(w)}
}

func (p *paced) WriteHeader(status int) {
	if p.status == 0 && status >= 200 {
		p.status = status
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *paced) Write(b []byte) (n int, err error) {
	if p.status == 0 {
		p.status = http.StatusOK
	}
	for first := true; first || len(b) > 0; first = false {
		piece := b[:min(len(b), writePiece)]
		// A deadline is of the time of the machine: the connection knows no other. One that cannot be
		// set is that of a test's recorder.
		p.control.SetWriteDeadline(time.Now().Add(writeTime))
		m, err := p.ResponseWriter.Write(piece)
		n += m
		if err != nil {
			return n, err
		}
		b = b[m:]
	}
	// With HTTP/2 a deadline that passes ends the stream, though nothing is being written.
	p.control.SetWriteDeadline(time.Time{})
	return n, nil
}

func (p *paced) FlushError() error {
	p.control.SetWriteDeadline(time.Now().Add(writeTime))
	err := p.control.Flush()
	if err == nil {
		p.control.SetWriteDeadline(time.Time{})
	}
	return err
}

func (p *paced) Flush() { p.FlushError() }

// end sets the time that the rest has, which is sent when the handler has returned.
func (p *paced) end() { p.control.SetWriteDeadline(time.Now().Add(writeTime)) }

func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// A gate lets so many in at once, and so many wait for that.
type gate struct {
	in      chan struct{}
	waiting chan struct{}
}

func newGate(in, waiting int) *gate {
	return &gate{make(chan struct{}, in), make(chan struct{}, waiting)}
}

// enter waits until there is room. It reports false when that takes too long, or too
// many wait already.
func (g *gate) enter(ctx context.Context) bool {
	select {
	case g.in <- struct{}{}:
		return true
	default:
	}
	select {
	case g.waiting <- struct{}{}:
	default:
		return false
	}
	defer func() { <-g.waiting }()
	late := time.NewTimer(queueTime)
	defer late.Stop()
	select {
	case g.in <- struct{}{}:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

func (g *gate) leave() { <-g.in }
