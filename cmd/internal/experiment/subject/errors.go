package subject

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A BuildError is a program that cannot be built, or found.
type BuildError struct {
	Variant string
	Command string // what was run, "" when nothing was
	Output  string // the end of what it printed
	Err     error
	hint    string
}

func (e *BuildError) Error() string {
	s := "building variant " + e.Variant + ": "
	if e.Command != "" {
		s += e.Command + ": "
	}
	s += e.Err.Error()
	if e.Output != "" {
		s += "\n" + e.Output
	}
	return s
}
func (e *BuildError) Unwrap() error { return e.Err }

// Hint is what to do about it, "" when the output says it all.
func (e *BuildError) Hint() string { return e.hint }

// A StartError is a program that could not be executed at all.
type StartError struct {
	Variant string
	Err     error
	hint    string
}

func (e *StartError) Error() string { return "starting variant " + e.Variant + ": " + e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Hint is what to do about it, "" when the error says it all.
func (e *StartError) Hint() string { return e.hint }

// A NotReadyError is a program that was started and did not come to answer.
type NotReadyError struct {
	Variant string
	Within  time.Duration
	Asked   string         // how it was asked: GET http://..., TCP 127.0.0.1:...
	Last    error          // why the last question failed, nil when none did
	End     experiment.End // How is EndedKilled when it ran until the time was up
	Log     string         // the end of what it printed
}

func (e *NotReadyError) Error() string {
	s := "starting variant " + e.Variant + ": "
	switch e.End.How {
	case experiment.EndedCrashed:
		s += "it ended before it was ready: " + e.End.Text
	case experiment.EndedOOM:
		s += "it was killed for memory before it was ready: " + e.End.Text
	default:
		s += fmt.Sprintf("it was not ready within %v", e.Within)
		if e.Asked != "" {
			s += ": " + e.Asked
		}
		if e.Last != nil {
			s += ": " + e.Last.Error()
		}
	}
	if log := lastLines(e.Log, 10); log != "" {
		s += "\n" + log
	}
	return s
}
func (e *NotReadyError) Unwrap() error { return e.Last }

// Hint is where to look.
func (e *NotReadyError) Hint() string {
	switch e.End.How {
	case experiment.EndedOOM:
		return "its memory_limit does not hold the program at rest: raise it"
	case experiment.EndedCrashed:
		return "run it by hand with the plan's arguments, environment and files"
	}
	return "check ready in the plan: it must name a port that the program listens on, such as {port}; or raise ready.within"
}

// A LimitError says that a memory limit or a CPU quota cannot be set here.
type LimitError struct {
	Why  string
	Err  error // nil when there is no cause beside Why
	hint string
}

func (e *LimitError) Error() string {
	s := "limits cannot be set here: " + e.Why
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}
func (e *LimitError) Unwrap() error { return e.Err }

// Hint is how to get the right, or do without it.
func (e *LimitError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "run as root, or as systemd-run --user --scope -p Delegate=yes heapwright compare ...; or take memory_limit and cpu_quota out of the plan"
}

// lastLines is the end of a text, made fit to be printed.
func lastLines(s string, n int) string {
	const width = 500
	lines := strings.Split(strings.TrimSpace(s), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, l := range lines {
		if len(l) > width {
			l = l[:width] + "..."
		}
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// clean replaces what a terminal would obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
