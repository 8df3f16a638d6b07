package goproc

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on amd64 and arm64.
const tick = 10 * time.Millisecond

// A procStat is what we need of /proc/PID/stat.
type procStat struct {
	comm   []byte // part of the parsed text
	state  byte
	flags  uint64
	majflt uint64
	utime  uint64 // ticks
	stime  uint64 // ticks
	start  uint64 // ticks since boot
	rss    uint64 // pages; less exact than /proc/PID/status, which adds up what each CPU has counted
}

const flagKthread = 0x00200000 // PF_KTHREAD

// parseStat parses /proc/PID/stat (proc_pid_stat(5)). The command name may hold
// anything, parentheses and spaces included. It does not allocate.
func parseStat(text []byte) (st procStat, ok bool) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return st, false
	}
	st.comm = text[open+1 : end]
	rest := text[end+1:]
	for field := 3; field <= 24; field++ {
		rest = bytes.TrimLeft(rest, " ")
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		if len(word) == 0 {
			return st, false
		}
		ok := true
		switch field {
		case 3:
			st.state = word[0]
		case 9:
			st.flags, ok = number(word)
		case 12:
			st.majflt, ok = number(word)
		case 14:
			st.utime, ok = number(word)
		case 15:
			st.stime, ok = number(word)
		case 22:
			st.start, ok = number(word)
		case 24:
			st.rss, ok = number(word)
		}
		if !ok {
			return st, false
		}
	}
	return st, true
}

// A procStatus is what we need of /proc/PID/status. Sizes are bytes.
type procStatus struct {
	tgid, uid                         uint64
	rss, hwm, anon, file, shmem, swap uint64
	hasRSS, hasSplit, hasHWM, hasSwap bool // a kernel thread has none, an old kernel not all
}

// parseStatus parses /proc/PID/status (proc_pid_status(5)). It does not
// allocate.
func parseStatus(text []byte) (st procStatus, ok bool) {
	var anon, file, shmem bool
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		key, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			continue
		}
		good := true
		switch string(key) {
		case "Tgid":
			st.tgid, good = number(bytes.TrimSpace(value))
		case "Uid": // real, effective, saved, file system
			_, value, _ = bytes.Cut(bytes.TrimSpace(value), []byte("\t"))
			value, _, _ = bytes.Cut(value, []byte("\t"))
			st.uid, good = number(value)
		case "VmRSS":
			st.rss, st.hasRSS = kilobytes(value)
			good = st.hasRSS
		case "VmHWM":
			st.hwm, st.hasHWM = kilobytes(value)
			good = st.hasHWM
		case "RssAnon":
			st.anon, anon = kilobytes(value)
			good = anon
		case "RssFile":
			st.file, file = kilobytes(value)
			good = file
		case "RssShmem":
			st.shmem, shmem = kilobytes(value)
			good = shmem
		case "VmSwap":
			st.swap, st.hasSwap = kilobytes(value)
			good = st.hasSwap
		}
		if !good {
			return st, false
		}
	}
	st.hasSplit = anon && file && shmem
	return st, true
}

// kilobytes parses "   1234 kB".
func kilobytes(b []byte) (uint64, bool) {
	b, ok := bytes.CutSuffix(bytes.TrimSpace(b), []byte(" kB"))
	if !ok {
		return 0, false
	}
	v, ok := number(b)
	return v << 10, ok && v < 1<<53
}

// number parses a decimal number without allocating.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if v > (math.MaxUint64-9)/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}

// goEnv are the variables that the Go runtime reads, and the only ones we keep.
var goEnv = []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK", "GOEXPERIMENT"}

// parseEnviron picks the variables of the Go runtime out of /proc/PID/environ.
// The first of a name counts, as it does for the runtime (runtime/env_posix.go,
// gogetenv).
func parseEnviron(text []byte) map[string]string {
	var env map[string]string
	for len(text) > 0 {
		var pair []byte
		pair, text, _ = bytes.Cut(text, []byte{0})
		if !bytes.HasPrefix(pair, []byte("GO")) || len(pair) > 4096 {
			continue
		}
		key, value, ok := bytes.Cut(pair, []byte("="))
		if !ok {
			continue
		}
		for _, k := range goEnv {
			if string(key) != k {
				continue
			}
			if env == nil {
				env = make(map[string]string)
			}
			if _, dup := env[k]; !dup {
				env[k] = strings.ToValidUTF8(string(value), "\uFFFD")
			}
		}
	}
	return env
}

// parseCPUList counts a list such as "0-3,8" (/sys/devices/system/cpu/online).
func parseCPUList(text string) int {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return 0
		}
		b := a
		if isRange {
			if b, err = strconv.ParseUint(last, 10, 16); err != nil || b < a {
				return 0
			}
		}
		n += int(b-a) + 1
	}
	return n
}

// parseMemTotal takes the host's memory from /proc/meminfo, in bytes.
func parseMemTotal(text []byte) uint64 {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("MemTotal:")); ok {
			v, _ := kilobytes(value)
			return v
		}
	}
	return 0
}

// parsePasswd maps user IDs to names.
func parsePasswd(text string) map[int]string {
	users := make(map[int]string)
	for line := range strings.Lines(text) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		if err != nil {
			continue
		}
		if _, dup := users[uid]; !dup {
			users[uid] = f[0]
		}
	}
	return users
}
