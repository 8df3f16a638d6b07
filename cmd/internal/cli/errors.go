package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// printError writes an error for people: one line, and what to do about it
// where somebody knows.
func printError(w io.Writer, err error) {
	if problems := new(strictyaml.Errors); errors.As(err, &problems) {
		for _, l := range problems.Lines() {
			fmt.Fprintf(w, "heapwright: %s\n", oneLine(l))
		}
		return
	}
	fmt.Fprintf(w, "heapwright: %s\n", oneLine(err.Error()))
	if h := hintOf(err); h != "" {
		fmt.Fprintf(w, "heapwright: hint: %s\n", oneLine(h))
	}
}

// warnf writes a warning.
func (e Env) warnf(format string, args ...any) {
	fmt.Fprintf(e.Stderr, "heapwright: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// oneLine makes text that may have come from a hostile process one safe line.
func oneLine(s string) string {
	return term.Clean(strings.Join(strings.Fields(s), " "))
}

// hintOf finds advice in the chain of an error.
func hintOf(err error) string {
	for e := err; e != nil; {
		var hinter interface{ Hint() string }
		if !errors.As(e, &hinter) {
			break
		}
		if h := hinter.Hint(); h != "" {
			return h
		}
		// One without advice may wrap one that has some.
		inner, _ := hinter.(error)
		e = errors.Unwrap(inner)
	}
	var pe *procmem.Error
	if errors.As(err, &pe) && pe.Hint != "" {
		return pe.Hint
	}
	if errors.Is(err, procmem.ErrExited) {
		return "heapwright ps lists the Go processes of this host"
	}
	return ""
}
