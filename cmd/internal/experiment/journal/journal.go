// Package journal keeps an experiment: a file that grows by a line with every block,
// is whole at every instant, and shows when somebody has changed it.
//
// A line is a JSON object of a sum, a kind and a body. The sum is the SHA-256 of the
// sum before it, the kind and the body, so that no line can be changed, taken out or
// put in without all that follow being wrong. That shows damage and a careless hand;
// it does not hold off who writes the whole file anew: for that, keep the last sum
// elsewhere. docs/formats/result.md says more.
//
// Whether a verdict follows from the blocks is not asked here.
package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Bounds on a file.
const (
	maxLine  = 8 << 20 // bytes
	maxLines = 200_000
	maxFile  = 256 << 20
	maxKind  = 32 // bytes of a line's kind
)

// Kinds of lines.
const (
	kindHeader = "header"
	kindBlock  = "block"
	kindLook   = "look"
	kindEnd    = "end"
)

// ErrBusy says that another run writes the file.
var ErrBusy = errors.New("another run is writing it")

// A TamperedError says that a line is not as it was written, or not where it was.
type TamperedError struct {
	Path string
	Line int // from 1
	Why  string
}

func (e *TamperedError) Error() string {
	return fmt.Sprintf("%s was changed after it was written: line %d %s", e.Path, e.Line, e.Why)
}

// A FinishedError says that an experiment is over, and cannot be resumed.
type FinishedError struct{ Path, How string }

func (e *FinishedError) Error() string {
	return fmt.Sprintf("%s is whole, and ended (%s): there is nothing to resume", e.Path, e.How)
}

// A FullError says that a line could not be kept for want of room. What was kept
// before is whole.
type FullError struct {
	Path string
	Err  error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("there is no room for %s: %v; what was measured before is kept", e.Path, e.Err)
}

func (e *FullError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *FullError) Hint() string { return "make room on the disk, then go on with --resume" }

// A file is what a journal needs of an os.File.
type file interface {
	io.Writer
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// A Journal is a file that is being written. It holds a lock on it. After an error
// nothing more is written.
type Journal struct {
	path string
	f    file
	sum  string // of the last line
	size int64  // of the whole lines
	err  error
}

// Create begins a file with its header. It refuses one that exists.
func Create(path string, h experiment.Header) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("beginning the result: %s exists, and is not overwritten", path)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning the result: %w", err)
	}
	j := &Journal{path: path, f: f}
	h.Schema = experiment.ResultSchema
	err = lock(f)
	if err == nil {
		err = j.append(kindHeader, h)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("beginning the result: %w", err)
	}
	return j, nil
}

// Resume goes on with a file that was cut off or interrupted, and returns what is in
// it. A last line that was not written to its end is taken off.
func Resume(path string) (*Journal, *experiment.Result, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("resuming the experiment: %w", err)
	}
	fail := func(err error) (*Journal, *experiment.Result, error) {
		f.Close()
		return nil, nil, fmt.Errorf("resuming the experiment: %w", err)
	}
	if err := lock(f); err != nil {
		return fail(fmt.Errorf("%s: %w", path, err))
	}
	r := reader{path: path}
	if err := r.read(f); err != nil {
		return fail(err)
	}
	if e := r.result.Ending; e != nil && !resumable(e.How) {
		return fail(&FinishedError{path, e.How})
	}
	if err := f.Truncate(r.size); err != nil {
		return fail(err)
	}
	r.result.Ending = nil
	return &Journal{path: path, f: f, sum: r.sum, size: r.size}, &r.result, nil
}

// resumable reports whether an experiment that ended so can go on.
func resumable(how string) bool {
	return how == experiment.EndInterrupted || how == experiment.EndBudget
}

// Block keeps a block.
func (j *Journal) Block(b experiment.Block) error { return j.append(kindBlock, b) }

// Look keeps a look.
func (j *Journal) Look(l experiment.Look) error { return j.append(kindLook, l) }

// End keeps how the experiment ended.
func (j *Journal) End(e experiment.Ending) error { return j.append(kindEnd, e) }

// Sum is that of the last line, which stands for all of them.
func (j *Journal) Sum() string { return j.sum }

// Close lets go of the file.
func (j *Journal) Close() error { return j.f.Close() }

// append writes a line, and returns when it is on the disk.
func (j *Journal) append(kind string, body any) error {
	if j.err != nil {
		return j.err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("keeping a %s: %w", kind, err)
	}
	sum := chain(j.sum, kind, text)
	line := encode(sum, kind, text)
	if len(line) > maxLine {
		return fmt.Errorf("keeping a %s: it is larger than %d MiB", kind, maxLine>>20)
	}
	_, err = j.f.Write(line)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		// Half a line does no harm to who reads; it is taken off where that works.
		_ = j.f.Truncate(j.size)
		j.err = fmt.Errorf("keeping a %s: %w", kind, err)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
			var e *fs.PathError // which names the file once more
			if errors.As(err, &e) {
				err = e.Err
			}
			j.err = &FullError{j.path, err}
		}
		return j.err
	}
	j.sum, j.size = sum, j.size+int64(len(line))
	return nil
}

// chain is the sum of a line.
func chain(before, kind string, body []byte) string {
	h := sha256.New()
	io.WriteString(h, before)
	io.WriteString(h, kind)
	h.Write([]byte{'\n'})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

func encode(sum, kind string, body []byte) []byte {
	return fmt.Appendf(nil, `{"sum":"%s","kind":"%s","body":%s}`+"\n", sum, kind, body)
}

// decode takes a line apart. There is one way to write it, so that nothing can be
// hidden in it.
func decode(line []byte) (sum, kind string, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"sum":"`))
	if !ok || len(rest) < 2*sha256.Size {
		return "", "", nil, false
	}
	sum, rest = string(rest[:2*sha256.Size]), rest[2*sha256.Size:]
	if rest, ok = bytes.CutPrefix(rest, []byte(`","kind":"`)); !ok {
		return "", "", nil, false
	}
	k, rest, ok := bytes.Cut(rest, []byte(`","body":`))
	if !ok || len(k) > maxKind || bytes.ContainsFunc(k, func(c rune) bool { return c < 'a' || c > 'z' }) {
		return "", "", nil, false
	}
	body, ok = bytes.CutSuffix(rest, []byte("}\n"))
	return sum, string(k), body, ok
}

// lock takes the file for this process alone, for as long as it is open.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrBusy
		case err != nil:
			return fmt.Errorf("locking the file: %w", err)
		}
		return nil
	}
}

// syncDir makes a new file's name last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
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
