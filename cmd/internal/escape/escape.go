// Package escape joins what the compiler says of escapes with what a program
// really allocated, by file and line.
//
// The compiler's words are those of -gcflags=-m=2; what was allocated is a heap
// profile. Neither is the truth by itself: the compiler does not know how often
// a line runs, and a line of which it says nothing may allocate in the runtime.
// The package runs the go command for the former (Compile), and otherwise only
// reads; it measures nothing.
package escape

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// A Verdict is what the compiler decided of a value.
type Verdict string

// The decisions (cmd/compile/internal/escape/escape.go, finish).
const (
	Escapes Verdict = "escapes"         // "x escapes to heap"
	Moved   Verdict = "moved"           // "moved to heap: x": a variable
	Stays   Verdict = "does not escape" // "x does not escape"
)

// A Decision is one of the compiler's, about one value.
type Decision struct {
	File    string // absolute, or as the compiler wrote it
	Line    int
	Column  int
	Verdict Verdict
	What    string // the expression or the variable
	// Why is the last step of the flow that made it escape, such as
	// "fmt.Println(x) (call parameter)"; "" when the compiler gave none.
	Why string
}

// Bounds of what is read of a compiler.
const (
	maxOutput    = 256 << 20
	maxLine      = 1 << 20 // a line that tells of an inlined body can be long
	maxDecisions = 1 << 20
	maxText      = 300 // bytes kept of an expression or reason
)

// ErrTooMuch says that the compiler's output exceeds what is read of it.
var ErrTooMuch = errors.New("the compiler says too much: name fewer packages")

// Parse reads the output of go build -gcflags=-m=2, or -m. Relative file names
// are taken to be relative to dir. Lines that it does not know, it skips: the
// compiler says much that is not about escapes, and each release a little else.
func Parse(r io.Reader, dir string) ([]Decision, error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxOutput+1), 64<<10)
	var (
		out  []Decision
		why  = map[position]string{} // from the explanations, which come before the decisions
		at   position                // what is being explained
		read int64
	)
	for {
		line, n, err := readLine(in)
		read += int64(n)
		if read > maxOutput {
			return out, ErrTooMuch
		}
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return out, nil
			}
			return out, fmt.Errorf("reading what the compiler says: %w", err)
		}
		pos, text, ok := splitPosition(line)
		if !ok {
			continue
		}
		switch step, explains := explanation(text); {
		case explains && step != "":
			if len(why) < maxDecisions {
				why[at] = step
			}
			continue
		case explains:
			continue
		}
		d, ok, heading := decision(text)
		switch {
		case heading:
			at = pos
			// Of a position that is explained several times, as with a function that is
			// inlined at several places, the first explanation is as good as any.
			if _, known := why[at]; known {
				at = position{}
			}
		case ok:
			if len(out) == maxDecisions {
				return out, ErrTooMuch
			}
			d.File, d.Line, d.Column = absolute(pos.file, dir), pos.line, pos.column
			if d.Verdict != Stays {
				d.Why = why[pos]
			}
			out = append(out, d)
		}
	}
}

type position struct {
	file         string
	line, column int
}

// splitPosition cuts "file.go:12:6: text". A file's name may have colons in it.
func splitPosition(line string) (position, string, bool) {
	end := strings.Index(line, ": ")
	for end >= 0 {
		head := line[:end]
		c := strings.LastIndexByte(head, ':')
		if c > 0 {
			l := strings.LastIndexByte(head[:c], ':')
			if l > 0 {
				column, err1 := strconv.Atoi(head[c+1:])
				number, err2 := strconv.Atoi(head[l+1 : c])
				if err1 == nil && err2 == nil && column > 0 && number > 0 {
					return position{head[:l], number, column}, line[end+2:], true
				}
			}
		}
		next := strings.Index(line[end+2:], ": ")
		if next < 0 {
			break
		}
		end += 2 + next
	}
	return position{}, "", false
}

// explanation reads the indented lines below a heading: "  flow: ...", and
// "    from EXPR (REASON) at POSITION", of which it returns "EXPR (REASON)".
func explanation(text string) (step string, ok bool) {
	if !strings.HasPrefix(text, "  ") {
		return "", false
	}
	text = strings.TrimLeft(text, " ")
	rest, isFrom := strings.CutPrefix(text, "from ")
	if !isFrom {
		return "", true
	}
	if at := strings.LastIndex(rest, " at "); at >= 0 {
		rest = rest[:at]
	}
	// A spill says only that a value has a place in memory.
	if strings.HasSuffix(rest, " (spill)") || strings.HasSuffix(rest, " (address-of)") {
		return "", true
	}
	return clip(rest), true
}

// decision reads a line that is not indented. A heading is one that explanations
// follow; the decision itself comes again after them, without a colon at its end.
func decision(text string) (d Decision, ok, heading bool) {
	if what, found := strings.CutPrefix(text, "moved to heap: "); found {
		return Decision{Verdict: Moved, What: clip(what)}, true, false
	}
	if what, found := strings.CutSuffix(text, " does not escape"); found {
		return Decision{Verdict: Stays, What: clip(what)}, true, false
	}
	if what, found := strings.CutSuffix(text, " escapes to heap"); found {
		return Decision{Verdict: Escapes, What: clip(what)}, true, false
	}
	return Decision{}, false, strings.HasSuffix(text, ":")
}

func clip(s string) string {
	// What is not UTF-8 grows when it is replaced.
	if s = strings.ToValidUTF8(s, "\uFFFD"); len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

func absolute(file, dir string) string {
	if file == "" || filepath.IsAbs(file) || strings.HasPrefix(file, "<") {
		return file
	}
	return filepath.Join(dir, file)
}

// readLine reads a line without its end, and how many bytes it took. What of a
// line is beyond maxLine is dropped.
func readLine(in *bufio.Reader) (string, int, error) {
	var line []byte
	n := 0
	for {
		part, err := in.ReadSlice('\n')
		n += len(part)
		line = append(line, part[:min(len(part), maxLine-len(line))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return strings.TrimRight(string(line), "\r\n"), n, err
	}
}
