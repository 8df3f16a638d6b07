package evidence

import (
	"crypto/rand"
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
// Others may have the right to move it away and put theirs in its place, where they can write
// to what it lies in. So what is written goes through a handle of a directory that was looked
// at, and not by its path. By the path goes what is removed and renamed, of names that are
// only ours, which does nothing with what is not in their hands.
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
	d.sweep(time.Now())
	p, err := d.begin()
	if err != nil {
		return nil, err
	}
	return d, p.discard()
}

// open returns a handle of the directory, if nobody else can write to it.
func (d *directory) open() (*os.Root, error) {
	info, err := os.Lstat(d.path)
	if err != nil {
		return nil, err
	}
	if err := d.check(info); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%w: %s was replaced while it was opened", ErrUnsafeDir, d.path)
	}
	if err == nil {
		err = d.check(opened)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// check says whether nobody else can write to what is the directory.
func (d *directory) check(info fs.FileInfo) error {
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
	root *os.Root // of the directory
	name string   // in it
	used int64    // by the whole directory
	own  int64    // by the bundle
}

func (d *directory) begin() (*partialBundle, error) {
	root, err := d.open() // it may have been replaced since
	if err != nil {
		return nil, err
	}
	p := &partialBundle{dir: d, root: root, name: partial + rand.Text()}
	if err := root.Mkdir(p.name, 0o700); err != nil {
		root.Close()
		return nil, err
	}
	p.used = diskUsage(d.path)
	return p, nil
}

func (p *partialBundle) write(name string, content func(io.Writer) error) (n int64, err error) {
	path := filepath.Join(p.name, name)
	f, err := p.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
		if p.root.Remove(path) == nil {
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
		name := t.UTC().Format(nameFormat)
		path = filepath.Join(p.dir.path, name)
		if _, err = os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(filepath.Join(p.dir.path, p.name), path); err != nil {
				return "", err
			}
			if _, err := p.root.Lstat(name); err != nil {
				return "", fmt.Errorf("%w: %s was replaced while a bundle was written: %w", ErrUnsafeDir, p.dir.path, err)
			}
			return path, p.root.Close()
		}
		t = t.Add(1)
	}
	return "", fmt.Errorf("naming a bundle %s: %w", path, fs.ErrExist)
}

// discard removes it, and is due when finish fails or is not called.
func (p *partialBundle) discard() error {
	return errors.Join(os.RemoveAll(filepath.Join(p.dir.path, p.name)), p.root.Close())
}
