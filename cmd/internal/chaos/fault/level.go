package fault

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

// absolute makes an amount of a level. whole is what its shares are of.
func absolute(l chaos.Level, whole float64, of string) (float64, error) {
	v := l.Value
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0, &RefusedError{Why: fmt.Sprintf("%g is no level", v)}
	}
	if !l.Share {
		return v, nil
	}
	if whole <= 0 || math.IsNaN(whole) || math.IsInf(whole, 0) {
		return 0, &RefusedError{Why: fmt.Sprintf("the level is a share of the %s, and there is none", of), hint: "give it as an amount"}
	}
	return v * whole, nil
}

// pages rounds bytes up to what the kernel counts in.
func pages(bytes float64) uint64 {
	size := uint64(os.Getpagesize())
	if bytes <= 0 {
		return 0
	}
	if bytes > 1<<56 {
		return 1 << 56
	}
	return (uint64(bytes) + size - 1) / size * size
}

// sizeText writes a number of bytes in a sentence: 12.3MiB.
func sizeText(bytes float64) string { return human.Bytes(bytes) + "B" }

// limitText writes a GOMEMLIMIT in a sentence.
func limitText(bytes int64) string {
	if bytes == math.MaxInt64 {
		return "off"
	}
	return sizeText(float64(bytes))
}

// A memory is what there is to know of the memory of a group.
type memory struct {
	usage, working, fixed uint64 // all; without inactive page cache; what cannot be dropped
	limit                 uint64 // the smallest along the path
	limited               bool
	own                   uint64 // of the group itself, where it has one
	ownLimited            bool
	room                  uint64 // least of limit less working set along the path
}

func (d Dir) files() (limit, usage string) {
	if d.Version == 1 {
		return "memory.limit_in_bytes", "memory.usage_in_bytes"
	}
	return "memory.max", "memory.current"
}

// look reads what the group uses and may use.
func (d Dir) look() (memory, error) {
	var m memory
	limitFile, usageFile := d.files()
	m.room = math.MaxUint64
	for i, dir := range append([]string{d.Path}, d.Above...) {
		limit, limited, err := readBytes(filepath.Join(dir, limitFile))
		if i == 0 {
			m.own, m.ownLimited = limit, limited
		}
		if i > 0 && (err != nil || !limited) {
			continue // the root has no such file
		}
		if err != nil && !os.IsNotExist(err) {
			return m, fmt.Errorf("reading the limit of the cgroup: %w", err)
		}
		usage, _, err := readBytes(filepath.Join(dir, usageFile))
		if err != nil {
			return m, fmt.Errorf("reading what the cgroup uses: %w", err)
		}
		text, err := readText(filepath.Join(dir, "memory.stat"))
		if err != nil {
			return m, fmt.Errorf("reading what the cgroup uses: %w", err)
		}
		stat := parseKeys(text)
		inactive, fixed := stat["inactive_file"], stat["anon"]+stat["shmem"]
		if d.Version == 1 {
			inactive, fixed = stat["total_inactive_file"], stat["total_rss"]+stat["total_shmem"]
		}
		working := usage - min(usage, inactive)
		if i == 0 {
			m.usage, m.working, m.fixed = usage, working, min(usage, fixed)
			if hidden := stat["hierarchical_memory_limit"]; d.Version == 1 && hidden > 0 && hidden < 1<<60 {
				// Of a group above that cannot be seen, or of one of those here.
				m.limit, m.limited, m.room = hidden, true, hidden-min(hidden, working)
			}
		}
		if limited {
			if !m.limited || limit < m.limit {
				m.limit = limit
			}
			m.limited = true
			m.room = min(m.room, limit-min(limit, working))
		}
	}
	if !m.limited {
		m.room = 0
	}
	return m, nil
}

// squeezable is what there is to know of the memory of the target's group, if memory may
// be taken from it by writing to a file of it.
func (t *Target) squeezable(file string, room Room) (memory, error) {
	if err := t.Memory.own("memory"); err != nil {
		return memory{}, err
	}
	if err := t.Memory.may(file); err != nil {
		return memory{}, err
	}
	if err := swaps(t, room); err != nil {
		return memory{}, err
	}
	m, err := t.Memory.look()
	if err != nil {
		return memory{}, &RefusedError{Why: "its memory is not known", Err: err}
	}
	return m, nil
}

// noSwap reports whether what is in the group cannot be swapped out.
func (d Dir) noSwap() bool {
	if d.Version == 2 {
		n, limited, err := readBytes(filepath.Join(d.Path, "memory.swap.max"))
		return err == nil && limited && n == 0
	}
	both, limited, err := readBytes(filepath.Join(d.Path, "memory.memsw.limit_in_bytes"))
	limit, _, err2 := readBytes(filepath.Join(d.Path, "memory.limit_in_bytes"))
	return err == nil && err2 == nil && limited && both <= limit
}

// killsAll names the group whose processes the kernel kills all together; "" for none.
func (d Dir) killsAll() string {
	if d.Version != 2 {
		return ""
	}
	for _, dir := range append([]string{d.Path}, d.Above...) {
		if v, err := readValue(filepath.Join(dir, "memory.oom.group")); err == nil && v == "1" {
			return dir
		}
	}
	return ""
}

// hangs reports whether the kernel has processes wait when there is no memory left,
// and kills none (v1).
func (d Dir) hangs() bool {
	if d.Version != 1 {
		return false
	}
	text, err := readText(filepath.Join(d.Path, "memory.oom_control"))
	return err == nil && parseKeys(text)["oom_kill_disable"] == 1
}

func hanging(t *Target) error {
	return &RefusedError{Why: fmt.Sprintf("oom_kill_disable is 1 in %s: when memory is short all of it would stand still", filepath.Join(t.Memory.Path, "memory.oom_control")),
		hint: "write 0 to it, or say allow_kill: true"}
}

// swaps refuses a machine that would swap instead.
func swaps(t *Target, room Room) error {
	if room.SwapBytes == 0 || t.Memory.noSwap() {
		return nil
	}
	return &RefusedError{Why: fmt.Sprintf("%s of swap are turned on: memory that is short would go to the disk, and the run would measure the disk", sizeText(float64(room.SwapBytes))),
		hint: "swapoff -a, or start the target with memory_limit, which gives its cgroup no swap"}
}

// fits refuses to take more memory than the caps and the machine allow.
func fits(take float64, m memory, caps chaos.Caps, room Room) error {
	const hint = "lower the level, or set caps: memory"
	most := float64(caps.Memory)
	why := "caps.memory is"
	if most == 0 {
		if !m.limited {
			return &RefusedError{Why: "its cgroup has no memory limit: what is taken would be taken of the whole machine", hint: "start it with memory_limit, or set caps: memory to what may be taken"}
		}
		most, why = float64(room.AvailableBytes)/4, "a quarter of the memory that is available here is"
	}
	if take > most {
		return &RefusedError{Why: fmt.Sprintf("it would take %s, and %s %s", sizeText(take), why, sizeText(most)), hint: hint}
	}
	free := float64(caps.HostFree)
	if free <= 0 {
		free = 0.1
	}
	least := free * float64(room.TotalBytes)
	if left := float64(room.AvailableBytes) - take; left < least {
		return &RefusedError{Why: fmt.Sprintf("it would take %s of the %s that are available on this machine, of which %s have to stay free", sizeText(take), sizeText(float64(room.AvailableBytes)), sizeText(least)), hint: "lower the level, or caps: host_free"}
	}
	return nil
}
