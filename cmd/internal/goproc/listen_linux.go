package goproc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A Listener is what a process accepts connections with.
type Listener struct {
	Addresses []netip.AddrPort // sorted; no more than 64
	// Elsewhere says that the process is in another network than the caller: the
	// addresses mean nothing here.
	Elsewhere bool
}

// maxFDs bounds the descriptors of a process that are looked at.
const maxFDs = 1 << 20

// Listening finds the TCP sockets on which a process listens, from its descriptors
// and the kernel's tables. Nothing is connected to.
func Listening(pid int) (*Listener, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	fail := func(err error) (*Listener, error) {
		return nil, fmt.Errorf("finding the sockets of process %d: %w", pid, err)
	}
	fds, err := os.Open(dir + "/fd")
	if err != nil {
		return fail(err)
	}
	defer fds.Close()
	names, err := fds.Readdirnames(maxFDs)
	if err != nil && len(names) == 0 {
		return fail(err)
	}
	inodes := map[uint64]bool{}
	for _, n := range names {
		link, err := os.Readlink(dir + "/fd/" + n)
		if err != nil {
			continue // closed meanwhile
		}
		text, ok := strings.CutPrefix(link, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64); ok && err == nil {
			inodes[inode] = true
		}
	}
	l := &Listener{}
	var problems []error
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(dir + "/net/" + name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		l.Addresses = append(l.Addresses, parseListening(f, inodes)...)
		f.Close()
	}
	if len(problems) == 2 {
		return fail(errors.Join(problems...))
	}
	slices.SortFunc(l.Addresses, netip.AddrPort.Compare)
	l.Addresses = slices.Compact(l.Addresses)
	l.Addresses = l.Addresses[:min(len(l.Addresses), maxListening)]
	own, err1 := os.Readlink("/proc/self/ns/net")
	its, err2 := os.Readlink(dir + "/ns/net")
	l.Elsewhere = err1 == nil && err2 == nil && own != its
	return l, nil
}

// maxCommandLine is ARG_MAX of Linux. A process can have the kernel show any of its
// memory as its arguments (prctl, PR_SET_MM_MAP).
const maxCommandLine = 2 << 20

// CommandLine returns the arguments of a process, the first 2 MiB of them.
func CommandLine(pid int) ([]string, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCommandLine))
	if err != nil {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}
