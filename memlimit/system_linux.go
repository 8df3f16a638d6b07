package memlimit

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// hostMemory is MemTotal of /proc/meminfo.
func hostMemory() uint64 {
	text, err := readProc("/proc/meminfo")
	if err != nil {
		return 0
	}
	v, _ := field(text, "MemTotal")
	return v
}

// ownMemory is what this process alone has: anonymous and shared memory, its page
// tables, and what of it was swapped out.
func ownMemory() (uint64, error) {
	text, err := readProc("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("measuring the memory of the process: %w", err)
	}
	anon, ok := field(text, "RssAnon")
	if !ok {
		return 0, errors.New("measuring the memory of the process: /proc/self/status has no RssAnon: Linux 4.5 or later has it")
	}
	for _, name := range []string{"RssShmem", "VmPTE", "VmSwap"} {
		v, _ := field(text, name)
		anon += v
	}
	return anon, nil
}

func readProc(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(b), err
}

// field finds a line "Name:  123 kB" of /proc/meminfo or /proc/self/status, in
// bytes.
func field(text, name string) (uint64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) != 2 || f[1] != "kB" {
			return 0, false
		}
		kb, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil || kb > math.MaxInt64>>10 {
			return 0, false
		}
		return kb << 10, true
	}
	return 0, false
}
