// Package profile takes goroutine, heap, block and mutex profiles from the
// memory of a Go process that serves none: it walks the runtime's own records
// and symbolises them from the program's pclntab.
//
// What it reports is what the target's own net/http/pprof would, and for
// goroutines also what only a traceback shows: wait reasons, wait times, and
// where each was created. Nothing in the target is stopped or written, so under
// load a profile is not one instant: records that changed while they were read
// are read again, and what could not be read is counted, never made up.
//
// It does not find the runtime's globals or the layout of its structures; a
// [Runtime] does. Everything read from the target is taken as hostile: walks
// are bounded in steps, in bytes and in memory.
package profile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A Runtime is the Go runtime of one process, its globals found and its layout known.
type Runtime interface {
	Memory() procmem.Memory
	Layout() *layout.Layout
	// Global returns the address of a variable such as "runtime.mbuckets".
	Global(symbol string) (addr uint64, ok bool)
	Table() *pclntab.Table
	GoVersion() string // "go1.26.8"
}

// A MissingError says that something a profile needs is not known of the target.
type MissingError struct {
	Profile string // "goroutine"
	What    string // "runtime.allgs", "g.sched.pc"
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("no %s profile: the place of %s in this build is not known", e.Profile, e.What)
}

// A DisabledError says that the target does not collect a profile.
type DisabledError struct {
	Profile string
	Reason  string
	Hint    string
}

func (e *DisabledError) Error() string {
	return fmt.Sprintf("no %s profile: %s (%s)", e.Profile, e.Reason, e.Hint)
}

// A fieldSet looks up fields and remembers the first that is missing.
type fieldSet struct {
	l       *layout.Layout
	missing string
}

func (s *fieldSet) off(name string) uint64 {
	f, ok := s.l.Field(name)
	if !ok && s.missing == "" {
		s.missing = name
	}
	return uint64(f.Off)
}

// opt returns the place of a field that not every release has.
func (s *fieldSet) opt(name string) (uint64, bool) {
	f, ok := s.l.Field(name)
	return uint64(f.Off), ok
}

func (s *fieldSet) size(name string) uint64 {
	n := s.l.Size(name)
	if n == 0 && s.missing == "" {
		s.missing = name
	}
	return uint64(n)
}

// minor returns the 26 of "go1.26.8", 0 when there is none.
func minor(version string) int {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	if err != nil {
		return 0
	}
	return n
}

// patch returns the 8 of "go1.26.8", 0 when there is none.
func patch(version string) int {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 3 {
		return 0
	}
	end := 0
	for end < len(parts[2]) && parts[2][end] >= '0' && parts[2][end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(parts[2][:end])
	if err != nil {
		return 0
	}
	return n
}
