package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/heapwright/heapwright/record"
)

const (
	// keyFormat is that of a key, in UTC: keys sort by time.
	keyFormat = "20060102T150405.000000Z"
	// suffix ends the name of a file.
	suffix = ".hwrec"
	// partialName is that of a file that is being written.
	partialName = ".partial"
	// eventSnapshot is the kind of the event that comes first in the file: it says what
	// is in it, so that a directory is read without reading all of its files.
	eventSnapshot record.EventKind = "snapshot"
	// maxNames bounds how many names are looked at in the directory and those below it.
	maxNames = 200_000
)

// dirOf returns the name of a process's directory. An ID is of letters, digits, dots,
// dashes and underscores, with :N at the end where there are several of a name; the
// colon is a tilde in the name, since not every file system takes it.
func dirOf(process string) (string, error) {
	for _, c := range []byte(process) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-:", c) >= 0) {
			return "", fmt.Errorf("%.80q is not the ID of a process", process)
		}
	}
	if process == "" || process == "." || process == ".." || len(process) > maxProcess {
		return "", fmt.Errorf("%.80q is not the ID of a process", process)
	}
	return strings.ReplaceAll(process, ":", "~"), nil
}

// processOf is the reverse.
func processOf(dir string) (string, bool) {
	process := strings.ReplaceAll(dir, "~", ":")
	back, err := dirOf(process)
	return process, err == nil && back == dir
}

// keyTime returns the time of a key, if it is one.
func keyTime(key string) (time.Time, bool) {
	t, err := time.Parse(keyFormat, key)
	return t, err == nil && t.Format(keyFormat) == key
}

// clampTime returns a time that a key can hold.
func clampTime(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9998 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// describe says what a recording holds.
func describe(process, reason string, rec *record.Recording) Entry {
	e := Entry{Process: process, Reason: clip(reason, maxReason)}
	if e.Reason == "" {
		e.Reason = Periodic
	}
	later := func(t time.Time) {
		if t.After(e.Time) {
			e.Time = t
		}
	}
	kinds := map[string]bool{}
	for _, g := range rec.Goroutines {
		kinds["goroutines"] = true
		e.Goroutines = max(0, g.Total)
		later(g.Time)
	}
	for _, p := range rec.Profiles {
		if knownKind(string(p.Kind)) {
			kinds[string(p.Kind)] = true
		}
		later(p.Time)
		if p.Kind == record.ProfileHeap {
			e.HeapInUseBytes = 0
			for _, s := range p.Sites {
				e.HeapInUseBytes += s.InUseBytes
			}
		}
	}
	if math.IsNaN(e.HeapInUseBytes) || math.IsInf(e.HeapInUseBytes, 0) {
		e.HeapInUseBytes = 0
	}
	for k := range kinds {
		e.Kinds = append(e.Kinds, k)
	}
	slices.Sort(e.Kinds)
	return e
}

func knownKind(k string) bool {
	switch k {
	case "goroutines", string(record.ProfileHeap), string(record.ProfileBlock), string(record.ProfileMutex):
		return true
	}
	return false
}

// clip returns at most n bytes of valid text.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// event is an entry as the first event of its file.
func event(e *Entry) *record.Event {
	return &record.Event{Time: e.Time, Kind: eventSnapshot, Text: e.Reason, Data: map[string]string{
		"goroutines":        strconv.Itoa(e.Goroutines),
		"heap_in_use_bytes": strconv.FormatFloat(e.HeapInUseBytes, 'g', -1, 64),
		"kinds":             strings.Join(e.Kinds, ","),
	}}
}

// fill sets what an event says of its file. What makes no sense is left out.
func (e *Entry) fill(ev *record.Event) {
	e.Reason = clip(ev.Text, maxReason)
	if n, err := strconv.Atoi(ev.Data["goroutines"]); err == nil && n > 0 {
		e.Goroutines = n
	}
	if f, err := strconv.ParseFloat(ev.Data["heap_in_use_bytes"], 64); err == nil && f > 0 && !math.IsInf(f, 0) {
		e.HeapInUseBytes = f
	}
	for k := range strings.SplitSeq(clip(ev.Data["kinds"], 200), ",") {
		if knownKind(k) && !slices.Contains(e.Kinds, k) {
			e.Kinds = append(e.Kinds, k)
		}
	}
	slices.Sort(e.Kinds)
}

// write writes a snapshot and makes it last. It returns how large it is.
func (v *Vault) write(name string, e *Entry, rec *record.Recording) (int64, error) {
	buf := &boundedWriter{left: v.opts.PerProcess, tooBy: &TooLargeError{e.Process, v.opts.PerProcess}}
	w := record.NewWriter(buf)
	err := errors.Join(w.Process(rec.Process), w.Event(event(e)), w.Flush())
	for i := range rec.Goroutines {
		err = errors.Join(err, w.Goroutines(&rec.Goroutines[i]))
	}
	for i := range rec.Profiles {
		err = errors.Join(err, w.Profile(&rec.Profiles[i]))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		var large *TooLargeError
		if errors.As(err, &large) {
			return 0, large
		}
		return 0, err
	}
	size := int64(buf.buf.Len())
	v.root.Remove(name) // what an earlier run left, or somebody put there
	f, err := v.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(buf.buf.Bytes())
	if err == nil {
		err = f.Sync()
	}
	return size, errors.Join(err, f.Close())
}

// read reads a snapshot whole.
func read(r io.Reader) (*record.Recording, error) {
	rd, err := record.NewReader(r, record.Limits{
		TotalBytes: readBytes, KeptBytes: readBytes, Objects: readObjects,
		Samples: readSamples, Cycles: 10_000, Events: 10_000, Recordings: 1,
	})
	if err != nil {
		return nil, err
	}
	recs, err := rd.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(recs) == 0 {
		return nil, errors.New("there is no process in it")
	}
	return recs[0], nil
}

// head reads what a snapshot says of itself in its first lines.
func head(r io.Reader, e *Entry) error {
	const most = 1 << 20 // bytes, expanded: a process with all of its build settings is 10 KiB
	rd, err := record.NewReader(r, record.Limits{LineBytes: most, TotalBytes: most})
	if err != nil {
		return err
	}
	for range 2 {
		item, err := rd.Next()
		if err != nil {
			return err
		}
		if item.Event != nil && item.Event.Kind == eventSnapshot {
			e.fill(item.Event)
			return nil
		}
	}
	return errors.New("it does not say that it is a snapshot")
}

// openFile opens a regular file, and nothing else: a pipe put in its place would keep
// the reader waiting.
func openFile(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no file but %v", path.Base(name), info.Mode().Type())
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", path.Base(name))
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, opened, nil
}

// load finds what is in the directory.
func (v *Vault) load() {
	names := 0
	for _, dir := range list(v.root, ".", &names) {
		process, ok := processOf(dir.Name())
		if !ok || !dir.IsDir() {
			v.stats.Ignored++
			continue
		}
		for _, file := range list(v.root, dir.Name(), &names) {
			name := dir.Name() + "/" + file.Name()
			if file.Name() == partialName {
				v.root.Remove(name)
				continue
			}
			key, ok := strings.CutSuffix(file.Name(), suffix)
			if t, isKey := keyTime(key); ok && isKey && v.loadFile(name, Entry{Process: process, Key: key, Time: t}) {
				continue
			}
			v.stats.Ignored++
		}
	}
}

func (v *Vault) loadFile(name string, e Entry) bool {
	f, info, err := openFile(v.root, name)
	if err != nil {
		return false
	}
	defer f.Close()
	if err := head(f, &e); err != nil {
		return false
	}
	e.Bytes = info.Size()
	v.add(e)
	return true
}

// list returns what is in a directory, as far as the bound on all names goes.
func list(root *os.Root, name string, names *int) []fs.DirEntry {
	d, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer d.Close()
	var out []fs.DirEntry
	for *names < maxNames {
		some, err := d.ReadDir(min(1024, maxNames-*names))
		out = append(out, some...)
		*names += len(some)
		if err != nil {
			break
		}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

// syncDir makes the names in a directory last.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot, and do not need it.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
