package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bounds of the files.
const (
	leastBytes = 1 << 20  // of a whole history: half for findings, half for events
	maxLine    = 64 << 10 // bytes of a line
	segments   = 8        // files that share the bytes
	maxPending = 1000     // lines that wait for room
	maxNames   = 10_000   // names looked at in the directory
)

// Kinds of lines. A reader skips those that it does not know.
const (
	kindEpisode = "episode" // as it is now: the last one of an episode counts
	kindSeen    = "seen"    // an episode is still there
	kindEvent   = "event"
)

// A line is one of a file.
type line struct {
	Kind    string   `json:"kind"`
	Episode *Episode `json:"episode,omitempty"`
	Seen    *seen    `json:"seen,omitempty"`
	Event   *Event   `json:"event,omitempty"`
}

// A seen is the line of an open episode of which nothing changed.
type seen struct {
	Process string    `json:"process"`
	ID      string    `json:"id"`
	Began   time.Time `json:"began"`
	Seen    time.Time `json:"seen"`
}

// A name is that of an episode, for as long as there is a history.
type name struct {
	process, id string
	began       int64 // unix ns
}

func episodeName(process, id string, began time.Time) name {
	return name{process, id, began.UnixNano()}
}

// A ref says where a line is, and what a query has to know before it reads it.
type ref struct {
	in      *segment
	at      int64
	len     int32
	process string
	from    time.Time
	to      time.Time // zero: open
	seen    time.Time
}

// A segment is a file.
type segment struct {
	name string
	n    uint64
	f    *os.File
	size int64
	full int64 // when it is so large, another begins
}

// A FullError says that the disk has no room for a line. What was kept is whole; it is
// tried again with the next line.
type FullError struct {
	Dir string
	Err error
}

func (e *FullError) Error() string { return fmt.Sprintf("there is no room in %s: %v", e.Dir, e.Err) }
func (e *FullError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *FullError) Hint() string { return "make room on the disk; the history goes on by itself then" }

// A log is the files of findings, or those of events. They have bytes of their own:
// where hundreds of programs start and end in an hour, there are many events, and they
// must not push out what was found.
type log struct {
	dir, kind  string
	root       *os.Root
	maxBytes   int64
	segments   []*segment // oldest first; the last one is written
	pending    []line
	checkpoint func() []line // what the next file begins with

	index map[name]*ref
	evs   []ref // in the order in which they were written
	names map[string]string
}

// A state is what a log says of the time before it was opened.
type state struct {
	recent  map[key]Episode // open, or ended so short a time ago that they may go on
	skipped int
}

func openLog(dir, kind string, maxBytes int64) (*log, state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, state{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, state{}, err
	}
	l := &log{dir: dir, kind: kind, root: root, maxBytes: maxBytes, index: map[name]*ref{}, names: map[string]string{}}
	s, err := l.load()
	if err == nil && len(l.segments) == 0 {
		err = l.begin(1)
	}
	if err != nil {
		l.close()
		return nil, state{}, err
	}
	return l, s, nil
}

func segmentName(kind string, n uint64) string { return fmt.Sprintf("%s-%08d.jsonl", kind, n) }

func segmentNumber(kind, name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, kind+"-")
	digits, ok2 := strings.CutSuffix(digits, ".jsonl")
	n, err := strconv.ParseUint(digits, 10, 40)
	return n, ok && ok2 && err == nil && n > 0 && segmentName(kind, n) == name
}

// load opens what files there are, and reads them.
func (l *log) load() (state, error) {
	s := state{recent: map[key]Episode{}}
	d, err := l.root.Open(".")
	if err != nil {
		return s, err
	}
	names, err := d.Readdirnames(maxNames)
	d.Close()
	if err != nil && err != io.EOF {
		return s, err
	}
	for _, name := range names {
		n, ok := segmentNumber(l.kind, name)
		if !ok {
			continue
		}
		f, size, err := openFile(l.root, name)
		if err != nil {
			continue // a directory or a pipe of such a name is none of ours
		}
		l.segments = append(l.segments, &segment{name: name, n: n, f: f, size: size, full: maxBytesOf(l.maxBytes)})
	}
	slices.SortFunc(l.segments, func(a, b *segment) int { return int(int64(a.n) - int64(b.n)) })
	for len(l.segments) > 0 && l.size() > l.maxBytes {
		l.drop()
	}
	var latest time.Time
	for _, seg := range l.segments {
		l.read(seg, &s, &latest)
	}
	for k, e := range s.recent {
		if !e.Ended.IsZero() && latest.Sub(e.Seen) > returnWithin || len(s.recent) > maxOpen {
			delete(s.recent, k)
		}
	}
	if n := len(l.segments); n > 0 {
		// What is appended must not become part of a line that was cut off.
		last := l.segments[n-1]
		if err := last.f.Truncate(last.size); err != nil {
			return s, err
		}
	}
	return s, nil
}

func maxBytesOf(all int64) int64 { return all / segments }

// read reads the lines of a file. Its size becomes that of its whole lines.
func (l *log) read(seg *segment, s *state, latest *time.Time) {
	r := bufio.NewReaderSize(io.NewSectionReader(seg.f, 0, seg.size), maxLine+1)
	var at int64
	for {
		text, err := r.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull: // no line of ours is so long
			n := int64(len(text))
			for err == bufio.ErrBufferFull {
				text, err = r.ReadSlice('\n')
				n += int64(len(text))
			}
			if err != nil {
				seg.size = at
				return
			}
			at += n
			s.skipped++
			continue
		case err != nil:
			if len(text) > 0 {
				s.skipped++
			}
			seg.size = at
			return
		}
		var got line
		if json.Unmarshal(text, &got) != nil || !l.note(&got, seg, at, len(text), s, latest) {
			s.skipped++
		}
		at += int64(len(text))
	}
}

// note takes in a line that was read or written. s is nil for one that was written.
func (l *log) note(got *line, seg *segment, at int64, n int, s *state, latest *time.Time) bool {
	switch {
	case got.Kind == kindEpisode && got.Episode != nil:
		e := got.Episode
		if !valid(key{e.Process, e.ID}) || !sane(e.Began) || !sane(e.Seen) || e.Seen.Before(e.Began) || !e.Ended.IsZero() && !sane(e.Ended) {
			return false
		}
		process, id := l.intern(e.Process), l.intern(e.ID)
		l.index[name{process, id, e.Began.UnixNano()}] = &ref{in: seg, at: at, len: int32(n), process: process, from: e.Began, to: e.Ended, seen: e.Seen}
		if s != nil {
			if have, ok := s.recent[key{process, id}]; !ok || !e.Began.Before(have.Began) {
				s.recent[key{process, id}] = *e
			}
			*latest = later(*latest, e.Seen)
		}
	case got.Kind == kindSeen && got.Seen != nil:
		e := got.Seen
		r := l.index[episodeName(e.Process, e.ID, e.Began)]
		if r == nil || !sane(e.Seen) || e.Seen.Before(r.seen) {
			return r != nil
		}
		r.seen = e.Seen
		if s != nil {
			k := key{e.Process, e.ID}
			if have := s.recent[k]; have.Began.Equal(e.Began) {
				have.Seen = e.Seen
				s.recent[k] = have
			}
			*latest = later(*latest, e.Seen)
		}
	case got.Kind == kindEvent && got.Event != nil:
		e := got.Event
		if !valid(key{e.Process, string(e.Kind)}) || !sane(e.Time) {
			return false
		}
		l.evs = append(l.evs, ref{in: seg, at: at, len: int32(n), process: l.intern(e.Process), from: e.Time, to: e.Time})
		if s != nil {
			*latest = later(*latest, e.Time)
		}
	default:
		return got.Kind != "" && got.Kind != kindEpisode && got.Kind != kindSeen && got.Kind != kindEvent
	}
	return true
}

// sane reports whether a time is one that can be counted in nanoseconds.
func sane(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2200 }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// intern returns the same text, of which there is one: names come again in every line.
func (l *log) intern(s string) string {
	if have, ok := l.names[s]; ok {
		return have
	}
	s = strings.Clone(s)
	l.names[s] = s
	return s
}

// begin starts a file.
func (l *log) begin(n uint64) error {
	name := segmentName(l.kind, n)
	f, err := l.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return l.full(err)
	}
	seg := &segment{name: name, n: n, f: f, full: maxBytesOf(l.maxBytes)}
	l.segments = append(l.segments, seg)
	if l.checkpoint == nil {
		return nil
	}
	// Half a file at most, so that it is not full of what is in it already.
	for _, c := range l.checkpoint() {
		text, err := encode(c)
		if err != nil || seg.size+int64(len(text)) > seg.full/2 {
			continue
		}
		if err := l.write(c, text); err != nil {
			return err
		}
	}
	return nil
}

// queue writes a line, or lets it wait where it cannot be written.
func (l *log) queue(e line) error {
	if len(l.pending) >= maxPending {
		l.pending = slices.Delete(l.pending, 0, 1)
	}
	l.pending = append(l.pending, e)
	return l.flush()
}

// append writes a line.
func (l *log) append(e line) error {
	if err := l.flush(); err != nil {
		return err
	}
	return l.one(e)
}

// flush writes what waits.
func (l *log) flush() error {
	for len(l.pending) > 0 {
		if err := l.one(l.pending[0]); err != nil {
			return err
		}
		l.pending = slices.Delete(l.pending, 0, 1)
	}
	l.pending = nil
	return nil
}

func (l *log) one(e line) error {
	text, err := encode(e)
	if err != nil {
		return nil // waiting would not make it better
	}
	if len(l.segments) == 0 {
		return errors.New("the history is closed")
	}
	if last := l.segments[len(l.segments)-1]; last.size >= last.full {
		last.f.Sync() // a write failed already if it fails
		if err := l.begin(last.n + 1); err != nil {
			return err
		}
	}
	return l.write(e, text)
}

// write appends a line to the last file.
func (l *log) write(e line, text []byte) error {
	for len(l.segments) > 1 && l.size()+int64(len(text)) > l.maxBytes {
		l.drop()
	}
	seg := l.segments[len(l.segments)-1]
	if _, err := seg.f.Write(text); err != nil {
		// Half a line would spoil the next one.
		_ = seg.f.Truncate(seg.size)
		return l.full(err)
	}
	l.note(&e, seg, seg.size, len(text), nil, nil)
	seg.size += int64(len(text))
	return nil
}

// encode makes the text of a line, and makes it shorter where it is too long.
func encode(e line) ([]byte, error) {
	text, err := json.Marshal(e)
	if err == nil && len(text) >= maxLine && e.Episode != nil {
		c := *e.Episode
		f := &c.Finding
		const some = maxText / 8
		f.Title, f.Cause, f.Remedy = clip(f.Title, some), clip(f.Cause, some), clip(f.Remedy, some)
		f.ConfidenceReason = clip(f.ConfidenceReason, some)
		f.Evidence, f.Sites = f.Evidence[:min(len(f.Evidence), 8)], nil
		e.Episode = &c
		text, err = json.Marshal(e)
	}
	if err == nil && len(text) >= maxLine {
		err = errors.New("the line is too long")
	}
	return append(text, '\n'), err
}

// drop removes the oldest file, and forgets what was in it.
func (l *log) drop() {
	seg := l.segments[0]
	seg.f.Close()
	l.root.Remove(seg.name)
	l.segments = slices.Delete(l.segments, 0, 1)
	for k, r := range l.index {
		if r.in == seg {
			delete(l.index, k)
		}
	}
	l.evs = slices.DeleteFunc(l.evs, func(r ref) bool { return r.in == seg })
	clear(l.names) // what is in use stays by itself
}

func (l *log) size() int64 {
	var n int64
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

func (l *log) full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &FullError{l.dir, err}
	}
	return err
}

func (l *log) close() error {
	var errs []error
	for i, s := range l.segments {
		if i == len(l.segments)-1 {
			errs = append(errs, s.f.Sync())
		}
		errs = append(errs, s.f.Close())
	}
	l.segments = nil
	return errors.Join(append(errs, l.root.Close())...)
}

// episodes returns where the episodes are that a query chooses, at most limit of them,
// the ones that began last.
func (l *log) episodes(q Query, limit int) []ref {
	var refs []ref
	for _, r := range l.index {
		to := r.to
		if to.IsZero() {
			to = r.seen
		}
		if q.wants(r.process, r.from, to, false) {
			refs = append(refs, *r)
		}
	}
	slices.SortFunc(refs, func(a, b ref) int { return b.from.Compare(a.from) })
	return refs[:min(len(refs), limit)]
}

// episode reads an episode again.
func (r *ref) episode() (Episode, bool) {
	got, ok := r.read()
	if !ok || got.Episode == nil {
		return Episode{}, false
	}
	e := *got.Episode
	if e.Ended.IsZero() {
		// Nobody saw its end: it was there until it was last seen.
		e.Seen, e.Ended = r.seen, r.seen
	}
	return e, true
}

// events returns where the events are that a query chooses, at most limit of them, those
// that were written last first.
func (l *log) events(q Query, limit int) []ref {
	var refs []ref
	for i := len(l.evs) - 1; i >= 0 && len(refs) < limit; i-- {
		if r := &l.evs[i]; q.wants(r.process, r.from, r.to, true) {
			refs = append(refs, *r)
		}
	}
	return refs
}

// read reads a line again. The file may have been changed since, or be gone.
func (r *ref) read() (line, bool) {
	text := make([]byte, r.len)
	if _, err := r.in.f.ReadAt(text, r.at); err != nil || bytes.IndexByte(text, '\n') != len(text)-1 {
		return line{}, false
	}
	var got line
	return got, json.Unmarshal(text, &got) == nil
}

// openFile opens a regular file for appending, and nothing else.
func openFile(root *os.Root, name string) (*os.File, int64, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no file but %v", name, info.Mode().Type())
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_APPEND|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	opened, err := f.Stat()
	if err == nil && (!os.SameFile(info, opened) || !opened.Mode().IsRegular()) {
		err = fmt.Errorf("%s was replaced while it was opened: %w", name, fs.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, opened.Size(), nil
}
