package goproc

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// maxListening bounds the sockets of a process that are returned, and maxTCPLines
// the lines that are looked at: a busy host has a line for each connection.
const (
	maxListening = 64
	maxTCPLines  = 1 << 20
)

// parseListening reads /proc/PID/net/tcp or tcp6 and returns the addresses of the
// listening sockets whose inodes are wanted.
func parseListening(r io.Reader, inodes map[uint64]bool) []netip.AddrPort {
	var out []netip.AddrPort
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan() && n < maxTCPLines && len(out) < maxListening; n++ {
		f := strings.Fields(lines.Text())
		const listen = "0A" // TCP_LISTEN (include/net/tcp_states.h)
		if len(f) < 10 || f[3] != listen {
			continue
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil || !inodes[inode] {
			continue
		}
		if a, ok := parseHexAddr(f[1]); ok {
			out = append(out, a)
		}
	}
	return out
}

// parseHexAddr reads "0100007F:1F90": the address is in words of 32 bits in the
// machine's order, the port is not.
func parseHexAddr(s string) (netip.AddrPort, bool) {
	ip, port, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	b, err := hex.DecodeString(ip)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), true
}
