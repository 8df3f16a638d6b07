//go:build !linux

package goproc

import "net/netip"

// A Listener is what a process accepts connections with.
type Listener struct {
	Addresses []netip.AddrPort
	Elsewhere bool
}

// Listening fails with [ErrUnsupported].
func Listening(pid int) (*Listener, error) { return nil, unsupported(pid) }

// CommandLine fails with [ErrUnsupported].
func CommandLine(pid int) ([]string, error) { return nil, unsupported(pid) }
