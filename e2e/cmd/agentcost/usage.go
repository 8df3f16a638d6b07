package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Usage is what a process has used by now, as the kernel counts it.
type Usage struct {
	User, System float64 // seconds of CPU time of all its threads, those that have ended too, in steps of 10 ms
	RSS          uint64  // bytes, and its parts
	Anon, File   uint64
}

func (u Usage) cpu() float64 { return u.User + u.System }

// usageOf reads /proc/PID/stat and /proc/PID/status.
func usageOf(pid int) (u Usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u, err
	}
	return parseUsage(stat, status)
}

func parseUsage(stat, status []byte) (u Usage, err error) {
	// The name, in parentheses, may have anything in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, errors.New("/proc/PID/stat is malformed")
	}
	const ticks = 100 // a second: USER_HZ, on all that Linux runs on
	user, err1 := strconv.ParseUint(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseUint(string(fields[12]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return u, fmt.Errorf("/proc/PID/stat is malformed: %w", err)
	}
	u.User, u.System = float64(user)/ticks, float64(system)/ticks
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		var into *uint64
		switch name {
		case "VmRSS":
			into = &u.RSS
		case "RssAnon":
			into = &u.Anon
		case "RssFile":
			into = &u.File
		default:
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/PID/status is malformed: %w", err)
		}
		*into = n << 10
	}
	return u, nil
}

// machineCPU is the CPU time that all of the machine has used, in seconds.
func machineCPU() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("/proc/stat is malformed")
	}
	var sum float64
	for i, f := range fields[1:9] { // guest time is in user time
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat is malformed: %w", err)
		}
		if i != 3 && i != 4 { // idle, and waiting for disks
			sum += n / 100
		}
	}
	return sum, nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(text))
	return strings.Join(f[:min(3, len(f))], " ")
}
