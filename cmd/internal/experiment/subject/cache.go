package subject

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// The cache has two directories: programs/SHA256/NAME are binaries, and keys/KEY
// names the one that a build from the inputs with that hash gave. A key is
// believed only if the binary still has its hash.
const (
	programsDir = "programs"
	keysDir     = "keys"
	building    = ".building-" // prefix of directories that are not finished
)

var entryName = regexp.MustCompile(`^[0-9a-f]{64}/[^/\x00]{1,255}$`)

// lookup returns the program that was built from these inputs, if it is there and whole.
func (b *Builder) lookup(key string) (Program, bool) {
	f, err := os.Open(filepath.Join(b.CacheDir, keysDir, key))
	if err != nil {
		return Program{}, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	entry := strings.TrimSpace(string(text))
	if err != nil || !entryName.MatchString(entry) {
		return Program{}, false
	}
	sum, name, _ := strings.Cut(entry, "/")
	p, err := inspect(filepath.Join(b.CacheDir, programsDir, sum, filepath.Base(name)))
	if err != nil || p.Build.SHA256 != sum {
		return Program{}, false
	}
	return p, true
}

// keep moves a binary that was just built to its place, and writes down the key
// unless it is "".
func (b *Builder) keep(path, key string) (Program, error) {
	p, err := inspect(path)
	if err != nil {
		return Program{}, err
	}
	if err := os.Chmod(path, 0o555); err != nil {
		return Program{}, err
	}
	dir := filepath.Join(b.CacheDir, programsDir, p.Build.SHA256)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Program{}, err
	}
	name := filepath.Base(path)
	// What is there already stays: another variant, or another experiment, may be
	// running it, and would take a new file for a changed one.
	if old, err := inspect(filepath.Join(dir, name)); err != nil || old.Build.SHA256 != p.Build.SHA256 {
		if err := os.Rename(path, filepath.Join(dir, name)); err != nil {
			return Program{}, err
		}
	}
	if key != "" {
		if err := os.MkdirAll(filepath.Join(b.CacheDir, keysDir), 0o755); err != nil {
			return Program{}, err
		}
		tmp := path + ".key"
		if err := os.WriteFile(tmp, []byte(p.Build.SHA256+"/"+name+"\n"), 0o644); err != nil {
			return Program{}, err
		}
		if err := os.Rename(tmp, filepath.Join(b.CacheDir, keysDir, key)); err != nil {
			return Program{}, err
		}
	}
	return inspect(filepath.Join(dir, name))
}

// workdir makes a directory for one build, alone: two builds at once only make
// both slower, and what is left of builds that were killed can be removed then.
func (b *Builder) workdir(ctx context.Context) (dir string, done func(), err error) {
	if err := os.MkdirAll(b.CacheDir, 0o755); err != nil {
		return "", nil, fmt.Errorf("making the cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(b.CacheDir, "build.lock"))
	if err != nil {
		return "", nil, fmt.Errorf("waiting for another build: %w", err)
	}
	if old, err := filepath.Glob(filepath.Join(b.CacheDir, building+"*")); err == nil {
		for _, d := range old {
			os.RemoveAll(d) // what cannot be removed is tried again by the next build
		}
	}
	dir, err = os.MkdirTemp(b.CacheDir, building)
	if err != nil {
		unlock()
		return "", nil, fmt.Errorf("making a directory to build in: %w", err)
	}
	return dir, func() { os.RemoveAll(dir); unlock() }, nil
}

// Alone waits until no other experiment of this user runs on this machine, since
// two would measure each other. Waiting is called when there is one. It lasts until
// release, or the end of the process.
func (b *Builder) Alone(ctx context.Context, waiting func()) (release func(), err error) {
	if err := os.MkdirAll(b.CacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	said := time.AfterFunc(200*time.Millisecond, waiting)
	defer said.Stop()
	release, err = lock(ctx, filepath.Join(b.CacheDir, "experiment.lock"))
	if err != nil {
		return nil, fmt.Errorf("waiting for another experiment: %w", err)
	}
	return release, nil
}

// lock takes an exclusive lock on a file until unlock or the end of the process.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// inspect says what an executable is. One that was not built by Go has no
// version; that is for others to refuse.
func inspect(path string) (Program, error) {
	f, err := os.Open(path)
	if err != nil {
		return Program{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Program{}, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return Program{}, fmt.Errorf("%s is not an executable file: %w", path, fs.ErrPermission)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return Program{}, err
	}
	p := Program{Path: path, stamp: stampOf(info), Build: experiment.Build{
		SHA256: hex.EncodeToString(sum.Sum(nil)),
		Bytes:  info.Size(),
	}}
	if bi, err := buildinfo.Read(f); err == nil {
		p.Build.GoVersion = bi.GoVersion
		p.Build.Module = module(bi)
		p.Build.Settings = settings(bi)
	}
	return p, nil
}

// module is the module of the main package. Of a package that was built as a
// dependency the main module is ours, and says nothing.
func module(bi *debug.BuildInfo) string {
	best := &bi.Main
	if bi.Main.Path == wrapper {
		best = &debug.Module{}
		for _, m := range bi.Deps {
			if (bi.Path == m.Path || strings.HasPrefix(bi.Path, m.Path+"/")) && len(m.Path) > len(best.Path) {
				best = m
			}
		}
	}
	if best.Version == "" || best.Version == "(devel)" {
		return best.Path
	}
	return best.Path + "@" + best.Version
}

// settings are those that may differ between variants.
func settings(bi *debug.BuildInfo) string {
	const most = 4 << 10
	var out []string
	for _, s := range bi.Settings {
		switch {
		case s.Value == "", strings.HasPrefix(s.Key, "vcs"), s.Key == "-compiler", s.Key == "-trimpath", s.Key == "GOOS", s.Key == "GOARCH",
			s.Key == "-buildmode" && s.Value == "exe":
			continue
		}
		value := clean(s.Value)
		if strings.ContainsAny(value, ` "`) {
			value = strconv.Quote(value)
		}
		out = append(out, clean(s.Key)+"="+value)
	}
	text := strings.Join(out, " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// A stamp tells a file from one that replaced it.
type stamp struct {
	size int64
	mod  time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }
