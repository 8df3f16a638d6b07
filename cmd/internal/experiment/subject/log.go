package subject

import (
	"io"
	"strings"
	"sync"
)

// logBytes is how much of what a program prints is kept: its end.
const logBytes = 64 << 10

// A ring keeps the end of what is written to it.
type ring struct {
	mu   sync.Mutex
	b    []byte
	at   int // where the next byte goes
	full bool
}

func newRing(size int) *ring { return &ring{b: make([]byte, size)} }

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	if len(p) >= len(r.b) {
		r.at, r.full = 0, true
		copy(r.b, p[len(p)-len(r.b):])
		return n, nil
	}
	c := copy(r.b[r.at:], p)
	if c < len(p) {
		copy(r.b, p[c:])
	}
	r.full = r.full || r.at+n >= len(r.b)
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		return string(r.b[:r.at])
	}
	return string(r.b[r.at:]) + string(r.b[:r.at])
}

// A limited writer takes the first left bytes, and gives all to another.
type limited struct {
	w    io.Writer
	left int
	also io.Writer
}

func (l *limited) Write(p []byte) (int, error) {
	_, _ = l.also.Write(p) // a ring takes everything
	keep := p[:min(len(p), l.left)]
	l.left -= len(keep)
	if _, err := l.w.Write(keep); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cause finds in a log the line that says why a Go program ended, or else the
// last one.
func cause(log string) string {
	last := ""
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return lastLines(line, 1)
		}
		if line != "" {
			last = line
		}
	}
	return lastLines(last, 1)
}
