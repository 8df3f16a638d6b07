package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// nameFormat is that of a bundle's directory, in UTC: names sort by time.
	nameFormat = "20060102T150405.000000000Z"
	// partial begins the name of a bundle that is being written.
	partial = ".partial-"
	// staleAfter is when a partial bundle was left by a process that is gone.
	staleAfter = 10 * time.Minute
)

// A directory holds bundles, and is not larger than max bytes. Only we can write to it, so
// nothing in it can have been put there to lead us elsewhere; links are not followed anyway.
type directory struct {
	path string
	max  int64
}

// A bundle is one that is complete.
type bundle struct {
	time time.Time
	path string
}

// openDirectory makes the directory, or looks whether the one that is there is safe, and that
// it can be written to. It removes what an earlier run did not finish.
func openDirectory(path string, max int64) (*directory, error) {
	path, err := filepath.Abs(path) // the service may change its working directory
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	d := &directory{path, max}
	if err := d.check(); err != nil {
		return nil, err
	}
	d.sweep(time.Now())
	p, err := d.begin()
	if err != nil {
		return nil, err
	}
	return d, p.discard()
}

// check says whether nobody else can write to the directory.
func (d *directory) check() error {
	info, err := os.Lstat(d.path)
	if err != nil {
		return err
	}
	switch uid, known := owner(info); {
	case !info.IsDir():
		return fmt.Errorf("%w: %s is no directory but %v; name a directory itself", ErrUnsafeDir, d.path, info.Mode().Type())
	case known && uid != os.Geteuid():
		return fmt.Errorf("%w: %s belongs to user %d; name a directory in it that is not there yet, it is made", ErrUnsafeDir, d.path, uid)
	case known && info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: %s can be written by others (%v); name a directory in it that is not there yet, it is made", ErrUnsafeDir, d.path, info.Mode().Perm())
	}
	return nil
}

// sweep removes partial bundles that nobody writes any more.
func (d *directory) sweep(now time.Time) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return // the first write will say it
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), partial) {
			continue
		}
		// A time in the future is that of a clock that was set.
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()).Abs() >= staleAfter {
			os.RemoveAll(filepath.Join(d.path, e.Name())) // it does not follow links
		}
	}
}

// bundles returns the complete ones, oldest first.
func (d *directory) bundles() []bundle {
	entries, err := os.ReadDir(d.path) // sorted by name
	if err != nil {
		return nil
	}
	var all []bundle
	for _, e := range entries {
		// A link of such a name is none of ours.
		if t, err := time.Parse(nameFormat, e.Name()); err == nil && e.IsDir() {
			all = append(all, bundle{t, filepath.Join(d.path, e.Name())})
		}
	}
	return all
}

// diskUsage is how many bytes the files below path have, links not followed.
func diskUsage(path string) (bytes int64) {
	filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

// A partialBundle is the store of a bundle on disk.
type partialBundle struct {
	dir  *directory
	path string
	used int64 // by the whole directory
	own  int64 // by the bundle
}

func (d *directory) begin() (*partialBundle, error) {
	if err := d.check(); err != nil { // it may have been replaced since
		return nil, err
	}
	path, err := os.MkdirTemp(d.path, partial) // mode 0700
	if err != nil {
		return nil, err
	}
	return &partialBundle{dir: d, path: path, used: diskUsage(d.path)}, nil
}

func (p *partialBundle) write(name string, content func(io.Writer) error) (n int64, err error) {
	path := filepath.Join(p.path, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	err = complete(writerFunc(func(b []byte) (int, error) {
		if err := p.makeRoom(name, int64(len(b))); err != nil {
			return 0, err
		}
		m, err := f.Write(b)
		n += int64(m)
		p.used += int64(m)
		p.own += int64(m)
		return m, err
	}), content)
	if err = errors.Join(err, f.Close()); err != nil {
		if os.Remove(path) == nil {
			p.used -= n
			p.own -= n
		}
		return 0, err
	}
	return n, nil
}

// makeRoom removes the oldest bundles until n bytes more fit. It removes none where all of
// them would not be enough, nor for a file with which this bundle is larger than half of the
// directory: what is given up for a file that turns out to be too large is bounded.
func (p *partialBundle) makeRoom(name string, n int64) error {
	own := p.own + n
	if name != fileReason {
		n += reserve
	}
	if p.used+n <= p.dir.max {
		return nil
	}
	all := p.dir.bundles()
	var freed int64
	for _, b := range all {
		freed += diskUsage(b.path)
	}
	switch {
	case p.used-freed+n > p.dir.max:
		return fmt.Errorf("%w: there are %d bytes in %s, %d of them not of older bundles, of at most %d", ErrTooLarge, p.used, p.dir.path, p.used-freed, p.dir.max)
	case name != fileReason && own > p.dir.max/2:
		return fmt.Errorf("%w: older bundles make room for one of at most %d bytes, half of what may be in %s", ErrTooLarge, p.dir.max/2, p.dir.path)
	}
	for _, b := range all {
		if err := os.RemoveAll(b.path); err != nil {
			return err
		}
		if p.used = diskUsage(p.dir.path); p.used+n <= p.dir.max {
			return nil
		}
	}
	return fmt.Errorf("%w: there are %d bytes in %s, of at most %d", ErrTooLarge, p.used, p.dir.path, p.dir.max)
}

// finish gives the bundle its name.
func (p *partialBundle) finish(t time.Time) (path string, err error) {
	for range 100 { // of the same nanosecond, where the clock is coarse or was set
		path = filepath.Join(p.dir.path, t.UTC().Format(nameFormat))
		if _, err = os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, os.Rename(p.path, path)
		}
		t = t.Add(1)
	}
	return "", fmt.Errorf("naming a bundle %s: %w", path, fs.ErrExist)
}

func (p *partialBundle) discard() error { return os.RemoveAll(p.path) }
