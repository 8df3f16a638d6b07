package oom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// A LogError says why the kernel's log cannot be followed. Kills are still known from
// the counters of groups, but not which process it was, nor what the kernel counted.
type LogError struct {
	Path string
	Err  error
	hint string
}

func (e *LogError) Error() string {
	return fmt.Sprintf("following the kernel's log %s: %v", e.Path, e.Err)
}

func (e *LogError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *LogError) Hint() string { return e.hint }

// LogOptions say how to follow the kernel's log. The zero value starts at its end.
type LogOptions struct {
	Path string        // "" for /dev/kmsg
	Back time.Duration // kills that are no older are told of too
	End  bool          // Next gives io.EOF where there is no more, rather than wait
}

// A Log follows the kernel's log. It is for one goroutine, but for Lost and Close.
type Log struct {
	src    source
	path   string
	parser *Parser
	back   time.Duration
	end    bool

	buf    [16 << 10]byte // the kernel's records have at most 8 KiB
	last   uint64         // sequence number
	begun  bool
	offset time.Time // wall clock at the kernel's zero
	lost   atomic.Uint64
	now    func() time.Time
}

// A source gives a record a call. Before it waits for one it calls drained, and gives
// io.EOF in place of waiting when that says so.
type source interface {
	read(ctx context.Context, buf []byte, drained func() (end bool)) (int, error)
	Close() error
}

// errOverwritten says that records were overwritten before they were read: EPIPE.
var errOverwritten = errors.New("records were overwritten")

// OpenLog opens the kernel's log. The error is a *LogError.
func OpenLog(opt LogOptions) (*Log, error) {
	path := opt.Path
	if path == "" {
		path = "/dev/kmsg"
	}
	src, uptime, err := openKmsg(path, opt.Back > 0)
	if err != nil {
		e := &LogError{Path: path, Err: err}
		var pe *os.PathError
		if errors.As(err, &pe) {
			e.Err = pe.Err
		}
		switch {
		case errors.Is(err, os.ErrPermission):
			e.hint = "run as root or with CAP_SYSLOG, or set kernel.dmesg_restrict=0; without it kills are known from the cgroup's counters only"
		case errors.Is(err, os.ErrNotExist):
			e.hint = "give the container /dev/kmsg; without it kills are known from the cgroup's counters only"
		}
		return nil, e
	}
	l := newLog(src, path, opt.Back, os.Getpagesize(), uptime, time.Now)
	l.end = opt.End
	return l, nil
}

func newLog(src source, path string, back time.Duration, pageSize int, uptime time.Duration, now func() time.Time) *Log {
	return &Log{src: src, path: path, parser: NewParser(pageSize), back: back, offset: now().Add(-uptime), now: now}
}

// Close ends a Next that waits.
func (l *Log) Close() error { return l.src.Close() }

// Lost is how many records were overwritten before they were read.
func (l *Log) Lost() uint64 { return l.lost.Load() }

// Next waits for the next kill. After an error, which is of the context, io.EOF or a
// *LogError, the log is of no more use.
func (l *Log) Next(ctx context.Context) (Kill, error) {
	for {
		live := false
		n, err := l.src.read(ctx, l.buf[:], func() bool { live = true; return l.end })
		switch {
		case errors.Is(err, errOverwritten):
			l.parser.Lost()
			continue // the next record says by its number how many
		case ctx.Err() != nil:
			return Kill{}, fmt.Errorf("following the kernel's log: %w", context.Cause(ctx))
		case errors.Is(err, io.EOF):
			return Kill{}, io.EOF
		case err != nil:
			return Kill{}, &LogError{Path: l.path, Err: err, hint: "kills are known from the cgroup's counters only"}
		}
		r, ok := ParseRecord(l.buf[:n])
		if !ok {
			continue
		}
		if l.begun && r.Seq > l.last+1 {
			l.lost.Add(r.Seq - l.last - 1)
			l.parser.Lost()
		}
		l.begun, l.last = true, r.Seq
		at := l.wall(r.Time, live)
		k, ok := l.parser.Add(r)
		if !ok || l.back > 0 && l.now().Sub(at) > l.back {
			continue
		}
		k.Time = at
		return k, nil
	}
}

// maxLag is how far behind the clock a record may seem that was waited for, until the
// kernel's clock is taken to have drifted: it is not steered as CLOCK_MONOTONIC is.
const maxLag = 20 * time.Millisecond

// wall says when a record was written, by the wall clock.
func (l *Log) wall(kernel time.Duration, live bool) time.Time {
	now := l.now()
	at := l.offset.Add(kernel)
	if lag := now.Sub(at); lag < 0 || live && lag > maxLag {
		l.offset = l.offset.Add(lag)
		at = now
	}
	return at.Round(0)
}
