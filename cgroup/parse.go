package cgroup

import (
	"bytes"
	"math"
	"strings"
	"time"
)

// unlimited is the least number of bytes that means "no limit". Cgroup v1 has
// no word for it and shows PAGE_COUNTER_MAX (include/linux/page_counter.h):
// the largest int64, cut to a whole page. Pages of up to 1 MiB are allowed for.
const unlimited = math.MaxInt64 &^ (1<<20 - 1)

// parseUint parses a decimal number.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

// parseBytes parses a file that holds one count of bytes, or "max". limited is
// false when that means no limit.
func parseBytes(b []byte) (v uint64, limited, ok bool) {
	b = bytes.TrimSpace(b)
	if string(b) == "max" {
		return 0, false, true
	}
	if v, ok = parseUint(b); !ok {
		return 0, false, false
	}
	return v, v < unlimited, true
}

// parseCPUMax parses cpu.max of cgroup v2: "max 100000" or "50000 100000".
func parseCPUMax(b []byte) (cores float64, limited, ok bool) {
	quota, period, found := bytes.Cut(bytes.TrimSpace(b), []byte(" "))
	if !found {
		return 0, false, false
	}
	p, ok := parseUint(period)
	if !ok || p == 0 {
		return 0, false, false
	}
	if string(quota) == "max" {
		return 0, false, true
	}
	q, ok := parseUint(quota)
	if !ok {
		return 0, false, false
	}
	return float64(q) / float64(p), true, true
}

// parseCFS parses cpu.cfs_quota_us and cpu.cfs_period_us of cgroup v1. A quota
// of -1 is none.
func parseCFS(quota, period []byte) (cores float64, limited, ok bool) {
	p, ok := parseUint(bytes.TrimSpace(period))
	if !ok || p == 0 {
		return 0, false, false
	}
	if quota = bytes.TrimSpace(quota); len(quota) > 1 && quota[0] == '-' {
		_, ok = parseUint(quota[1:])
		return 0, false, ok
	}
	q, ok := parseUint(quota)
	if !ok {
		return 0, false, false
	}
	return float64(q) / float64(p), true, true
}

// lookup finds the value of key in a file of "key value" lines.
func lookup(b []byte, key string) (uint64, bool) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte("\n"))
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return parseUint(bytes.TrimSpace(line[len(key)+1:]))
		}
	}
	return 0, false
}

// parseParts parses memory.stat, but for the kernel's memory of cgroup v1, which is in
// a file of its own. It is not ok when the lists are missing that tell what can be dropped.
func parseParts(b []byte, version int) (p MemoryParts, ok bool) {
	get := func(key string) uint64 {
		v, _ := lookup(b, key)
		return v
	}
	keys := partsKeys[version-1]
	// The kernel's lists: every page of user memory is in one of them, unlike in the
	// counts by kind, where a locked page is anonymous and unevictable.
	inactive, ok1 := lookup(b, keys.inactiveAnon)
	active, ok2 := lookup(b, keys.activeAnon)
	unevictable, ok3 := lookup(b, keys.unevictable)
	if !ok1 || !ok2 || !ok3 {
		return p, false
	}
	p = MemoryParts{Anon: get(keys.anon), Shmem: get(keys.shmem), Unevictable: unevictable}
	p.NonReclaimable = saturatingAdd(saturatingAdd(inactive, active), unevictable)
	file := get(keys.file) // tmpfs is in it, too
	p.File = file - min(file, p.Shmem)
	p.Refaults = saturatingAdd(get(keys.refaultAnon), get(keys.refaultFile))
	if version == 1 {
		return p, true
	}
	p.Reclaimed = get("pgsteal")
	p.KernelReclaimable = get("slab_reclaimable")
	if p.Kernel, ok = lookup(b, "kernel"); !ok { // before Linux 5.18
		for _, key := range [...]string{"kernel_stack", "pagetables", "percpu", "slab"} {
			p.Kernel = saturatingAdd(p.Kernel, get(key))
		}
	}
	p.Kernel = saturatingAdd(p.Kernel, get("sock"))
	p.NonReclaimable = saturatingAdd(p.NonReclaimable, p.Kernel-min(p.Kernel, p.KernelReclaimable))
	return p, true
}

// partsKeys are the keys of memory.stat in cgroup v1 and v2, of the group and those below.
var partsKeys = [2]struct {
	anon, shmem, activeAnon, inactiveAnon, unevictable string
	file, refaultAnon, refaultFile                     string
}{
	{"total_rss", "total_shmem", "total_active_anon", "total_inactive_anon", "total_unevictable",
		"total_cache", "total_workingset_refault_anon", "total_workingset_refault_file"},
	{"anon", "shmem", "active_anon", "inactive_anon", "unevictable",
		"file", "workingset_refault_anon", "workingset_refault_file"},
}

func saturatingAdd(a, b uint64) uint64 {
	if s := a + b; s >= a {
		return s
	}
	return math.MaxUint64
}

// parsePressure parses a PSI file (Documentation/accounting/psi.rst).
func parsePressure(b []byte) (p Pressure, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte("\n"))
		var s *Stall
		switch kind, rest, _ := bytes.Cut(line, []byte(" ")); string(kind) {
		case "some":
			s, line, ok = &p.Some, rest, true
		case "full":
			s, line = &p.Full, rest
		default:
			continue // a later kernel's
		}
		var seen int
		for len(line) > 0 {
			var pair []byte
			pair, line, _ = bytes.Cut(line, []byte(" "))
			key, value, _ := bytes.Cut(pair, []byte("="))
			var good bool
			switch string(key) {
			case "avg10":
				s.Avg10, good = parsePercent(value)
			case "avg60":
				s.Avg60, good = parsePercent(value)
			case "avg300":
				s.Avg300, good = parsePercent(value)
			case "total":
				var us uint64
				us, good = parseUint(value)
				s.Total, good = micros(us), good && us <= math.MaxInt64/1000
			default:
				continue
			}
			if !good {
				return Pressure{}, false
			}
			seen++
		}
		if seen != 4 {
			return Pressure{}, false
		}
	}
	return p, ok
}

func micros(us uint64) time.Duration { return time.Duration(us) * time.Microsecond }

// parsePercent parses "12.34" into 0.1234. It does not allocate.
func parsePercent(b []byte) (ratio float64, ok bool) {
	whole, frac, found := bytes.Cut(b, []byte("."))
	w, ok := parseUint(whole)
	if !ok || !found || len(frac) != 2 {
		return 0, false
	}
	f, ok := parseUint(frac)
	if !ok || w > 100 {
		return 0, false
	}
	return float64(w*100+f) / 1e4, true
}

// A membership is a line of /proc/PID/cgroup.
type membership struct {
	id          string // "0" is cgroup v2
	controllers string // "cpu,cpuacct", "name=systemd", "" for v2
	path        string // "/docker/0123...", may begin with "/.." when it is outside of our cgroup namespace
}

func (m membership) has(controller string) bool {
	for c := range strings.SplitSeq(m.controllers, ",") {
		if c == controller {
			return true
		}
	}
	return false
}

// parseMemberships parses /proc/PID/cgroup.
func parseMemberships(text string) ([]membership, bool) {
	var ms []membership
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		id, rest, ok1 := strings.Cut(line, ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		if !ok1 || !ok2 || !strings.HasPrefix(path, "/") {
			return nil, false
		}
		ms = append(ms, membership{id, controllers, path})
	}
	return ms, len(ms) > 0
}

// A mount is a cgroup line of /proc/PID/mountinfo.
type mount struct {
	version int    // 1 or 2
	root    string // the group at the mount point
	point   string
	options string // of the super block; v1: names the controllers
}

// parseMounts parses /proc/PID/mountinfo (proc_pid_mountinfo(5)), and returns
// its cgroup mounts. roots, when not nil, is called with the root of every mount.
func parseMounts(text string, roots func(root string)) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		// 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if !ok {
			continue
		}
		f := strings.SplitN(before, " ", 6)
		if len(f) < 6 {
			continue
		}
		if roots != nil {
			roots(f[3])
		}
		kind, after, _ := strings.Cut(after, " ")
		_, options, _ := strings.Cut(after, " ")
		m := mount{root: unescape(f[3]), point: unescape(f[4]), options: options}
		switch kind {
		case "cgroup":
			m.version = 1
		case "cgroup2":
			m.version = 2
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes the octal escapes of mountinfo: space, tab, newline, backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, ok := octal(s[i+1 : i+4]); ok {
				b.WriteByte(v)
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(s string) (byte, bool) {
	var v int
	for _, c := range []byte(s) {
		if c < '0' || c > '7' {
			return 0, false
		}
		v = v*8 + int(c-'0')
	}
	return byte(v), v < 256
}

// below returns path relative to the mount's root, "" for the root itself. Both
// are as our cgroup namespace names them; the group we are in is "/", and what
// is outside begins with "/..".
func (m mount) below(path string) (string, bool) {
	root := strings.TrimSuffix(m.root, "/")
	path = strings.TrimSuffix(path, "/")
	rel, ok := strings.CutPrefix(path, root)
	if !ok || (rel != "" && rel[0] != '/') {
		return "", false
	}
	for name := range strings.SplitSeq(rel, "/") {
		if name == ".." {
			return "", false
		}
	}
	return strings.TrimPrefix(rel, "/"), true
}

// has reports whether the mount is the v1 hierarchy of the controller.
func (m mount) has(controller string) bool {
	for o := range strings.SplitSeq(m.options, ",") {
		if o == controller {
			return true
		}
	}
	return false
}
