package cli

import (
	"io"
	"os"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// Env is everything a command touches beside its arguments.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Getenv         func(string) string
	// Terminal returns the width of the terminal behind a stream; false when the
	// stream is not a terminal.
	Terminal func(stream any) (columns int, ok bool)
	// Signals delivers the signals sent to heapwright; nil for none.
	Signals *Signals
	// Host is where processes live.
	Host Host
	// Changes is what changes them.
	Changes func() (Changer, error)
	// Deaths is what the machine says of processes that are short of memory.
	Deaths deaths
	// Lab makes what experiments are measured with.
	Lab labFunc
	// Stress makes what plans of stress are carried out on.
	Stress stressLab
}

// System is the real Env.
func System() Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Now: time.Now, Getenv: os.Getenv, Terminal: term.Size,
		Signals: NewSignals(), Host: localHost{},
		Changes: func() (Changer, error) { return localChanges(os.Getenv) },
		Deaths:  localDeaths{},
		Lab:     localLab,
		Stress:  localStress,
	}
}

// textWidth is how wide running text is set where no terminal says otherwise,
// and the most that reads well where one does.
const (
	textWidth    = 80
	maxTextWidth = 100
)

// columns is the width of what w leads to: $COLUMNS, or the terminal's, or 0,
// which is no limit.
func (e Env) columns(w io.Writer) int {
	if n, err := strconv.Atoi(e.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	n, _ := e.Terminal(w)
	return n
}

// textColumns is the width for running text on w.
func (e Env) textColumns(w io.Writer) int {
	n := e.columns(w)
	if n == 0 {
		return textWidth
	}
	return min(n, maxTextWidth)
}

// painter colours text for w: only on a terminal that can, and only when the
// user does not object (https://no-color.org).
func (e Env) painter(w io.Writer) term.Painter {
	_, ok := e.Terminal(w)
	return term.Painter(ok && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb")
}

// progress is a line on stderr, which nobody sees unless it is a terminal.
func (e Env) progress() *term.Progress {
	n, ok := e.Terminal(e.Stderr)
	return term.NewProgress(e.Stderr, n, ok && e.Getenv("TERM") != "dumb")
}
