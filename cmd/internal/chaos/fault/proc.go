package fault

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	maxText = 1 << 20 // of a file of the kernel's that is read whole
	maxUp   = 128     // of parents, and of groups above or below
)

// readText reads a file of the kernel's; what is beyond a bound is an error.
func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxText {
		return "", &fs.PathError{Op: "read", Path: path, Err: errors.New("it is too long")}
	}
	return string(b), nil
}

// readValue reads a file of one value.
func readValue(path string) (string, error) {
	text, err := readText(path)
	return strings.TrimSpace(text), err
}

// readBytes reads a file of one number of bytes. No limit ("max", "-1", and what v1 has
// for it) is not limited.
func readBytes(path string) (n uint64, limited bool, err error) {
	text, err := readValue(path)
	if err != nil {
		return 0, false, err
	}
	n, limited, ok := parseBytes(text)
	if !ok {
		return 0, false, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no number of bytes")}
	}
	return n, limited, nil
}

func parseBytes(text string) (n uint64, limited, ok bool) {
	if text == "max" || text == "-1" {
		return 0, false, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, false
	}
	return n, n < 1<<60, true
}

// parseKeys reads lines "key number".
func parseKeys(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			out[f[0]] = n
		}
	}
	return out
}

// kib finds a line "Key:   123 kB" of status, smaps_rollup or meminfo, in bytes.
func kib(text, key string) (uint64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) != 2 || f[1] != "kB" {
			return 0, false
		}
		n, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil || n > 1<<50 {
			return 0, false
		}
		return n << 10, true
	}
	return 0, false
}

// gone reports whether a file of a group cannot be had since the group was removed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, errReplaced)
}

// inodeOf is the inode of a file.
func inodeOf(path string) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// isFile is errReplaced when a file is another than the one with that inode, where that
// is known.
func isFile(path string, inode uint64) error {
	if inode == 0 {
		return nil
	}
	now, err := inodeOf(path)
	if err == nil && now != inode {
		err = &fs.PathError{Op: "lstat", Path: path, Err: errReplaced}
	}
	return err
}

// A procStat is what there is to know of /proc/PID/stat.
type procStat struct {
	name   string
	state  byte
	parent int
	kernel bool // it is a thread of the kernel
	start  uint64
}

func parseStat(text string) (s procStat, ok bool) {
	// The name may hold anything: it ends at the last parenthesis.
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, false
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return s, false
	}
	const kthread = 0x00200000 // PF_KTHREAD of include/linux/sched.h
	var err [3]error
	var flags uint64
	s.name, s.state = text[open+1:end], f[0][0]
	s.parent, err[0] = strconv.Atoi(f[1])
	flags, err[1] = strconv.ParseUint(f[6], 10, 64)
	s.start, err[2] = strconv.ParseUint(f[19], 10, 64)
	s.kernel = flags&kthread != 0
	return s, errors.Join(err[:]...) == nil
}

func readStat(root string, pid int) (procStat, error) {
	path := procPath(root, pid, "stat")
	text, err := readText(path)
	if err != nil {
		return procStat{}, err
	}
	s, ok := parseStat(text)
	if !ok {
		return s, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not what the kernel would write")}
	}
	return s, nil
}

// dead reports whether a process runs no more: a zombie only waits to be counted.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func procPath(root string, pid int, name string) string {
	return filepath.Join(root, "/proc", strconv.Itoa(pid), name)
}

// running reports whether the process that began then runs still.
func running(root string, pid int, start uint64) bool {
	s, err := readStat(root, pid)
	return err == nil && s.start == start && !s.dead()
}

// handle is the process that began then, and no other one: nil when it is no more. The
// kernel's handle is taken first, and who it is is looked at after: from when it was
// noted until now the number was this process's.
func handle(pid int, start uint64) *os.Process {
	if pid <= 1 {
		return nil
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	if !running("", pid, start) {
		p.Release()
		return nil
	}
	return p
}
