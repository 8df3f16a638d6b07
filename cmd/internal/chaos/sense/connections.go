package sense

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxFDs bounds the descriptors of a process that are looked at, and maxLines the lines
// of the kernel's tables: a process with more is not counted.
const (
	maxFDs   = 1 << 16
	maxLines = 1 << 18
)

// countConnections counts the TCP connections of a process that are established. One that
// its peer has closed, and the process has not, is none: it may be a leak.
func countConnections(pid int) (int, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	fds, err := os.Open(dir + "/fd")
	if err != nil {
		return 0, false
	}
	defer fds.Close()
	names, err := fds.Readdirnames(maxFDs)
	if err != nil && err != io.EOF || len(names) >= maxFDs {
		return 0, false
	}
	inodes := map[string]bool{}
	for _, n := range names {
		link, err := os.Readlink(dir + "/fd/" + n)
		if err != nil {
			continue // closed meanwhile
		}
		if text, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(text, "]")] = true
		}
	}
	total, read := 0, false
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(dir + "/net/" + name)
		if err != nil {
			continue // a kernel without the protocol
		}
		n, ok := connectionsIn(f, inodes)
		f.Close()
		if !ok {
			return 0, false
		}
		total, read = total+n, true
	}
	return total, read
}

// connectionsIn counts the lines of /proc/PID/net/tcp whose sockets are wanted.
func connectionsIn(r io.Reader, inodes map[string]bool) (int, bool) {
	lines := bufio.NewScanner(r)
	n := 0
	for i := 0; lines.Scan(); i++ {
		if i >= maxLines {
			return 0, false
		}
		f := strings.Fields(lines.Text())
		const established = "01" // TCP_ESTABLISHED (include/net/tcp_states.h)
		if len(f) >= 10 && f[3] == established && inodes[f[9]] {
			n++
		}
	}
	return n, lines.Err() == nil
}
