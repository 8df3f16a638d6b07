// Package wire is what a machine of package vm and its host say to each other: what is
// to be run, which is in a file, and what came of it, line by line over a serial port.
// It is a package of its own since both ends are programs of their own.
package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Path is where the orders are in the machine.
const Path = "/orders.json"

// Orders are what the machine does before it powers itself off.
type Orders struct {
	// Controllers of cgroup v2 are enabled for the children of the root.
	Controllers []string  `json:"controllers"`
	Programs    []Program `json:"programs"`
}

// A Program is run, one after the other.
type Program struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"` // added to the few that all have
	Dir  string   `json:"dir,omitempty"`
	// Group is the cgroup that it is run in, relative to the root; "" is the root. Those
	// above it have the controllers enabled, it has not.
	Group string `json:"group,omitempty"`
	// Within is how long it may take before it is killed.
	Within time.Duration `json:"within_ns"`
}

// Kinds of frames.
const (
	Booted  = "booted" // with what the machine is
	Began   = "began"
	Said    = "said" // on its standard output or error
	Ended   = "ended"
	Failure = "failure" // of the machine itself: it will power off
	Off     = "off"     // all programs have ended
)

// A Frame is one line.
type Frame struct {
	Kind    string        `json:"kind"`
	Program int           `json:"program,omitempty"`
	Text    []byte        `json:"text,omitempty"`
	Exit    int           `json:"exit,omitempty"` // -1 for one that a signal has ended
	Why     string        `json:"why,omitempty"`
	Took    time.Duration `json:"took_ns,omitempty"`
	// Cut is how much of what it said was not sent.
	Cut int `json:"cut,omitempty"`
}

// MaxText bounds the text of a frame, MaxLine all of one.
const (
	MaxText = 16 << 10
	MaxLine = 64 << 10
)

// Send writes a frame.
func Send(w io.Writer, f Frame) error {
	text, err := json.Marshal(f)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

// A Reader reads frames. What is none, as of firmware that greets on every port, is
// passed over.
type Reader struct{ lines *bufio.Scanner }

// NewReader reads from a serial port.
func NewReader(r io.Reader) *Reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), MaxLine)
	return &Reader{lines}
}

// Next is the next frame. At the end it is io.EOF.
func (r *Reader) Next() (Frame, error) {
	for r.lines.Scan() {
		var f Frame
		if err := json.Unmarshal(r.lines.Bytes(), &f); err == nil && f.Kind != "" && f.Program >= 0 {
			return f, nil
		}
	}
	err := r.lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		return Frame{}, fmt.Errorf("the machine says a line of more than %d bytes", MaxLine)
	}
	if err == nil {
		err = io.EOF
	}
	return Frame{}, err
}
