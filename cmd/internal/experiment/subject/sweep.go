package subject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A leftover is what of a process may be left when we are killed. It is written to
// a file before any of it is made, and the file is removed last.
type leftover struct {
	Schema string   `json:"schema"`
	BootID string   `json:"boot_id"`
	Owner  owner    `json:"owner"`
	ID     string   `json:"id"`
	Dir    string   `json:"dir,omitempty"`
	Groups []string `json:"cgroups,omitempty"`
}

type owner struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
}

const (
	leftoverSchema = "heapwright-subject/1"
	maxLeftover    = 64 << 10 // bytes of a file
	maxLeftovers   = 4096     // files that one sweep looks at
	maxGroups      = 4
)

var idText = regexp.MustCompile(`^[0-9a-f]{32}$`)

// markers is the directory of these files: beside the leases of package live.
func markers(getenv func(string) string) (string, error) {
	dir := getenv("HEAPWRIGHT_STATE_DIR")
	switch {
	case dir != "":
	case os.Geteuid() == 0:
		// Not from the environment: under sudo that may name another user's directories.
		dir = "/run/heapwright"
	case filepath.IsAbs(getenv("XDG_RUNTIME_DIR")):
		dir = filepath.Join(getenv("XDG_RUNTIME_DIR"), "heapwright")
	case filepath.IsAbs(getenv("XDG_STATE_HOME")):
		dir = filepath.Join(getenv("XDG_STATE_HOME"), "heapwright")
	case filepath.IsAbs(getenv("HOME")):
		dir = filepath.Join(getenv("HOME"), ".local", "state", "heapwright")
	}
	if !filepath.IsAbs(dir) {
		return "", errors.New("there is no place to write down what is started: set HOME, or HEAPWRIGHT_STATE_DIR to an absolute path")
	}
	dir = filepath.Join(dir, "subjects")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the place to write down what is started: %w", err)
	}
	// What is in it decides what is removed.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || info.Mode().Perm()&0o022 != 0 || !ok || int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a directory that only its user may change: remove it", dir)
	}
	return dir, nil
}

// A marker is the file of a process that is ours.
type marker struct{ path string }

// mark writes down what is going to be made.
func mark(id, dir string, groups []string) (*marker, error) {
	where, err := markers(os.Getenv)
	if err != nil {
		return nil, err
	}
	boot, err := procmem.BootID()
	if err != nil {
		return nil, err
	}
	start, err := procmem.StartTicks(os.Getpid())
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(leftover{leftoverSchema, boot, owner{os.Getpid(), start}, id, dir, groups})
	if err != nil {
		return nil, err
	}
	m := &marker{filepath.Join(where, id+".json")}
	// Renamed into place: a sweep of another process sees all of it, or none.
	tmp := m.path + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		os.Remove(tmp)
		return nil, fmt.Errorf("writing down what is started: %w", err)
	}
	if err := os.Rename(tmp, m.path); err != nil {
		os.Remove(tmp)
		return nil, fmt.Errorf("writing down what is started: %w", err)
	}
	return m, nil
}

func (m *marker) remove() { os.Remove(m.path) } // one that stays says what is not there any more

// Sweep ends and removes what processes of ours that were killed have left:
// subjects and what they have forked, directories, cgroups. What belongs to one
// that still runs is left alone. It is called when an experiment starts.
func Sweep() error {
	where, err := markers(os.Getenv)
	if err != nil {
		return err
	}
	boot, err := procmem.BootID()
	if err != nil {
		return err
	}
	d, err := os.Open(where)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(maxLeftovers)
	d.Close()
	if err != nil && err != io.EOF {
		return err
	}
	var old []leftover
	var paths []string
	ids := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(where, e.Name())
		l, err := readLeftover(path)
		if err != nil {
			// Half of one, from a process that was killed while it wrote it: nothing was
			// made yet. It may as well be being written now.
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
				os.Remove(path)
			}
			continue
		}
		if l.BootID == boot && l.Owner.alive() {
			continue
		}
		if l.BootID == boot {
			ids[l.ID] = true
		}
		old, paths = append(old, l), append(paths, path)
	}
	if len(ids) > 0 {
		killMarked(ids)
	}
	var all error
	for i, l := range old {
		var left error
		for _, g := range l.Groups {
			left = errors.Join(left, removeGroup(g))
		}
		if l.Dir != "" {
			left = errors.Join(left, os.RemoveAll(l.Dir))
		}
		if left == nil {
			left = os.Remove(paths[i])
		}
		if left != nil && !errors.Is(left, fs.ErrNotExist) {
			all = errors.Join(all, fmt.Errorf("removing what an experiment left: %w", left))
		}
	}
	return all
}

func readLeftover(path string) (leftover, error) {
	if !strings.HasSuffix(path, ".json") {
		return leftover{}, errors.New("not a whole file")
	}
	f, err := os.Open(path)
	if err != nil {
		return leftover{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLeftover+1))
	if err != nil {
		return leftover{}, err
	}
	l, err := parseLeftover(text)
	if err == nil && filepath.Base(path) != l.ID+".json" {
		err = errors.New("it is named for another process")
	}
	return l, err
}

// parseLeftover refuses a text that names what is not ours to remove.
func parseLeftover(text []byte) (leftover, error) {
	var l leftover
	if len(text) > maxLeftover {
		return l, errors.New("it is too long")
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return l, err
	}
	ours := func(path, name string) bool {
		return filepath.IsAbs(path) && filepath.Clean(path) == path && filepath.Base(path) == name
	}
	switch {
	case l.Schema != leftoverSchema:
		return l, fmt.Errorf("the schema is %.40q", l.Schema)
	case !idText.MatchString(l.ID) || l.Owner.PID <= 0 || l.BootID == "":
		return l, errors.New("it names no process")
	case l.Dir != "" && !ours(l.Dir, dirPrefix+l.ID):
		return l, fmt.Errorf("%.100q is not a directory of a subject", l.Dir)
	case len(l.Groups) > maxGroups:
		return l, errors.New("it has too many cgroups")
	}
	for _, g := range l.Groups {
		if !ours(g, groupPrefix+l.ID) {
			return l, fmt.Errorf("%.100q is not a cgroup of a subject", g)
		}
	}
	return l, nil
}

// alive reports whether the owner still runs. One that cannot be looked at does.
func (o owner) alive() bool {
	start, err := procmem.StartTicks(o.PID)
	if err != nil {
		return !errors.Is(err, procmem.ErrExited)
	}
	return start == o.StartTicks
}

// killMarked kills every process that has one of the IDs in its environment: what
// a subject has forked has it too, in whatever group or session it is. It does so
// until there is none, as one may fork while it is looked for.
func killMarked(ids map[string]bool) {
	const rounds = 10
	for range rounds {
		found := false
		for _, pid := range processes() {
			if !ids[idOf(pid)] {
				continue
			}
			// Held, and looked at again: the number may have become another's.
			if p, err := os.FindProcess(pid); err == nil {
				if ids[idOf(pid)] {
					found = p.Kill() == nil || found
				}
				_ = p.Release()
			}
		}
		if !found {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes are the processes of this machine that we can see.
func processes() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(1 << 20)
	if err != nil {
		return nil
	}
	var out []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}

// idOf is the value of the cookie in a process's environment, "" when it has none,
// or when it is another user's.
func idOf(pid int) string {
	text, err := read("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	return cookieOf([]byte(text))
}

func cookieOf(environ []byte) string {
	for len(environ) > 0 {
		kv, rest, _ := bytes.Cut(environ, []byte{0})
		if value, ok := bytes.CutPrefix(kv, []byte(cookie+"=")); ok {
			return string(value)
		}
		environ = rest
	}
	return ""
}

// killGroup kills a process group.
func killGroup(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
