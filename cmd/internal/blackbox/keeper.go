package blackbox

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/record"
)

// An Entry is a post-mortem file, by its name alone.
type Entry struct {
	ID    string // safe in paths and URLs
	File  string
	Time  time.Time // of the kill
	Name  string    // of the process, cleaned
	PID   int
	Bytes int64
}

// What files are called: NAME-PID-20261122T014500.123Z.hwrec.
const (
	extension  = ".hwrec"
	stamp      = "20060102T150405.000Z"
	maxName    = 64
	maxEntries = 100_000
	// longestWrite is how long a file may take to be written.
	longestWrite = time.Hour
)

var idForm = regexp.MustCompile(`^([A-Za-z0-9._-]{1,64})-([0-9]{1,10})-([0-9]{8}T[0-9]{6}\.[0-9]{3}Z)$`)

func idOf(name string, pid int, at time.Time) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, name[:min(len(name), maxName)])
	clean = strings.TrimLeft(clean, ".")
	return fmt.Sprintf("%s-%d-%s", cmp.Or(clean, "unnamed"), pid, at.UTC().Format(stamp))
}

func parseID(id string) (Entry, bool) {
	m := idForm.FindStringSubmatch(id)
	if m == nil {
		return Entry{}, false
	}
	at, err1 := time.Parse(stamp, m[3])
	pid, err2 := strconv.Atoi(m[2])
	return Entry{ID: id, Name: m[1], PID: pid, Time: at}, err1 == nil && err2 == nil
}

// List are the post-mortems in a directory, the newest first. It opens none of them. A
// directory that is not there has none.
func List(dir string) ([]Entry, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing post-mortems: %w", err)
	}
	defer d.Close()
	var all []Entry
	for len(all) < maxEntries {
		files, err := d.ReadDir(1000)
		for _, f := range files {
			id, ok := strings.CutSuffix(f.Name(), extension)
			if !ok || !f.Type().IsRegular() {
				continue
			}
			e, ok := parseID(id)
			fi, err := f.Info()
			if !ok || err != nil {
				continue
			}
			e.File, e.Bytes = filepath.Join(dir, f.Name()), fi.Size()
			all = append(all, e)
		}
		if err != nil || len(files) == 0 {
			break // io.EOF, or what could be read is better than nothing
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.ID, a.ID)) })
	return all, nil
}

// Path is the file of a post-mortem in a directory; the error is an fs.ErrNotExist for an
// ID that is none.
func Path(dir, id string) (string, error) {
	if _, ok := parseID(id); !ok {
		return "", fmt.Errorf("%q is no post-mortem: %w", id, fs.ErrNotExist)
	}
	return filepath.Join(dir, id+extension), nil
}

// Open reads a post-mortem of a directory.
func Open(dir, id string) (*record.Recording, error) {
	path, err := Path(dir, id)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a post-mortem: %w", err)
	}
	defer f.Close()
	all, err := record.ReadAll(f)
	if err != nil && len(all) == 0 {
		return nil, fmt.Errorf("reading a post-mortem: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading a post-mortem: there is no process in %s", path)
	}
	return all[len(all)-1], nil
}

// A keeper writes post-mortems to a directory and keeps it in its bounds.
type keeper struct {
	dir      string
	maxBytes int64
	maxFiles int
	mu       sync.Mutex
}

func newKeeper(dir string, maxBytes int64, maxFiles int) (*keeper, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of post-mortems: %w", err)
	}
	// What a write that was cut short left behind. What is new may be another watcher's,
	// which is writing it now: serve and oom watch share a directory by default.
	if left, err := filepath.Glob(filepath.Join(dir, ".*.tmp")); err == nil {
		for _, name := range left {
			if fi, err := os.Lstat(name); err == nil && time.Since(fi.ModTime()) > longestWrite {
				os.Remove(name)
			}
		}
	}
	return &keeper{dir: dir, maxBytes: maxBytes, maxFiles: maxFiles}, nil
}

// put writes a post-mortem: the whole file, or none. Stable then waits until it would
// outlive the machine; it must be called, with an error too.
func (k *keeper) put(e *postmortem.Evidence, at time.Time) (path string, stable func() error, err error) {
	stable = func() error { return nil }
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &e.Recording.Process
	name := p.Name
	if name == "" && e.Kill != nil {
		name = e.Kill.Name
	}
	path = filepath.Join(k.dir, idOf(name, p.PID, at)+extension)
	f, err := os.CreateTemp(k.dir, ".*.tmp")
	if err != nil {
		return "", stable, fmt.Errorf("writing a post-mortem: %w", err)
	}
	stable = func() error { return errors.Join(f.Sync(), f.Close()) }
	defer os.Remove(f.Name()) // nothing once it was renamed
	b := bufio.NewWriter(f)
	err = write(b, e)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", stable, fmt.Errorf("writing a post-mortem: %w", err)
	}
	return path, stable, k.bound(path)
}

// bound removes the oldest until the directory is in its bounds; never the one that was
// just written.
func (k *keeper) bound(newest string) error {
	all, err := List(k.dir)
	if err != nil {
		return err
	}
	var bytes int64
	for i, e := range all {
		bytes += e.Bytes
		if (i >= k.maxFiles || bytes > k.maxBytes) && e.File != newest {
			if err := os.Remove(e.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("removing an old post-mortem: %w", err)
			}
			bytes -= e.Bytes
		}
	}
	return nil
}
