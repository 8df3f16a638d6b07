package oom

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// A Level is a cgroup along the path of a process's, with its own numbers.
type Level struct {
	Dir   string // "" for the whole machine
	Usage uint64 // bytes, of this group and those below
	Limit uint64 // bytes, 0 for none
}

// Left is how much may be used yet, math.MaxUint64 without a limit.
func (l Level) Left() uint64 {
	switch {
	case l.Limit == 0:
		return math.MaxUint64
	case l.Usage >= l.Limit:
		return 0
	}
	return l.Limit - l.Usage
}

// A Room reads how much room a cgroup has left, from files that it keeps open. Limits
// are read each time: they may be raised. It is for one goroutine.
type Room struct {
	version int
	levels  []roomLevel // leaf first
	kills   *os.File    // nil when the kernel does not count
	buf     [16 << 10]byte
}

type roomLevel struct {
	dir                string
	usage, limit, stat *os.File
}

// ErrGone says that a group was removed.
var ErrGone = errors.New("the cgroup was removed")

// maxLevels bounds how deep groups are looked at.
const maxLevels = 32

// OpenRoom opens the files of the group with these directories in the memory hierarchy,
// its own first: what cgroup.Group.Dirs returns.
func OpenRoom(dirs []string, version int) (*Room, error) {
	r := &Room{version: version}
	usage, limit, kills := "memory.current", "memory.max", "memory.events"
	if version == 1 {
		usage, limit, kills = "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"
	}
	for _, dir := range dirs[:min(len(dirs), maxLevels)] {
		l := roomLevel{dir: dir}
		var err error
		if l.usage, err = os.Open(filepath.Join(dir, usage)); errors.Is(err, fs.ErrNotExist) {
			continue // v2: the controller is off here, or it is the root
		}
		if err == nil {
			if l.limit, err = os.Open(filepath.Join(dir, limit)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		if err == nil {
			l.stat, err = os.Open(filepath.Join(dir, "memory.stat"))
		}
		r.levels = append(r.levels, l)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("opening a cgroup: %w", err)
		}
		if r.kills == nil {
			r.kills, _ = os.Open(filepath.Join(dir, kills)) // not counted before Linux 4.13
		}
	}
	if len(r.levels) == 0 {
		return nil, fmt.Errorf("opening a cgroup: %w", fs.ErrNotExist)
	}
	return r, nil
}

// Close closes the files.
func (r *Room) Close() error {
	for _, l := range r.levels {
		for _, f := range []*os.File{l.usage, l.limit, l.stat} {
			if f != nil {
				f.Close()
			}
		}
	}
	if r.kills != nil {
		r.kills.Close()
	}
	r.levels, r.kills = nil, nil
	return nil
}

// Version is 1 or 2.
func (r *Room) Version() int { return r.version }

func (r *Room) read(f *os.File) ([]byte, error) {
	n, err := f.ReadAt(r.buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		if isGone(err) {
			err = ErrGone
		}
		return nil, fmt.Errorf("reading %s: %w", filepath.Base(f.Name()), err)
	}
	return bytes.TrimSpace(r.buf[:n]), nil
}

func (r *Room) number(f *os.File) (v uint64, limited bool, err error) {
	b, err := r.read(f)
	if err != nil || string(b) == "max" {
		return 0, false, err
	}
	v, err = strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("reading %s: not a number", filepath.Base(f.Name()))
	}
	return v, v < unlimited, nil
}

// Levels appends the levels as they are now, leaf first. When the group's own are gone
// it fails with ErrGone.
func (r *Room) Levels(dst []Level) ([]Level, error) {
	for i := range r.levels {
		l := &r.levels[i]
		v := Level{Dir: l.dir}
		var err error
		if v.Usage, _, err = r.number(l.usage); err != nil {
			return dst, err
		}
		if l.limit != nil {
			limit, limited, err := r.number(l.limit)
			if err != nil {
				return dst, err
			}
			if limited {
				v.Limit = max(limit, 1) // a limit of nothing is one
			}
		}
		dst = append(dst, v)
	}
	return dst, nil
}

// Kills is how many processes the OOM killer ended, ok is false when the kernel does not
// count: of the group itself with v1, of those below it too with v2.
func (r *Room) Kills() (n uint64, ok bool) {
	if r.kills == nil {
		return 0, false
	}
	b, err := r.read(r.kills)
	if err != nil {
		return 0, false
	}
	return field(b, "oom_kill")
}

func field(text []byte, key string) (uint64, bool) {
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if ok && string(name) == key {
			v, err := strconv.ParseUint(string(value), 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// Parts is what a level's usage is made of, and how much of it is page cache that the
// kernel drops before it kills. The kernel gathers that anew on each call.
func (r *Room) Parts(dir string) (parts map[postmortem.Part]uint64, droppable uint64, err error) {
	for i := range r.levels {
		if r.levels[i].dir != dir {
			continue
		}
		text, err := r.read(r.levels[i].stat)
		if err != nil {
			return nil, 0, err
		}
		parts, droppable = readStat(text, r.version)
		return parts, droppable, nil
	}
	return nil, 0, fmt.Errorf("reading memory.stat: %s is no level of the group", dir)
}

func readStat(text []byte, version int) (parts map[postmortem.Part]uint64, droppable uint64) {
	parts = map[postmortem.Part]uint64{}
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		v, err := strconv.ParseUint(string(value), 10, 63)
		if !ok || err != nil {
			continue
		}
		key := string(name)
		if p, ok := stats[key]; ok {
			parts[p] = v // total_ ones come after those without
		}
		switch key {
		case "total_inactive_file", "total_active_file":
			droppable += v
		case "inactive_file", "active_file", "slab_reclaimable":
			if version == 2 {
				droppable += v
			}
		}
	}
	return parts, droppable
}

// HostLevel is the machine as a level: what is available counts as left. Text is
// /proc/meminfo.
func HostLevel(text []byte) (Level, bool) {
	kb := func(key string) (uint64, bool) {
		for line := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
				v, err := strconv.ParseUint(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 53)
				return v << 10, err == nil
			}
		}
		return 0, false
	}
	total, ok1 := kb("MemTotal")
	available, ok2 := kb("MemAvailable")
	if !ok1 || !ok2 || available > total {
		return Level{}, false
	}
	return Level{Usage: total - available, Limit: total}, true
}
