package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
)

// What the two processes say to each other are lines: of the tool a word, and JSON after
// it where there is more to say.
//
//	tool    {"plan": ...}        the hello
//	keeper  {"is":"ready"}       with the addresses of its proxies, or "failed"
//	tool    target {...}         what the faults are made of
//	keeper  {"is":"taken"}       or "failed", or "busy"
//	tool    before [...]         points of before the first fault
//	tool    begin 0              {"is":"began"}, or "failed"
//	tool    here {...}           ten times a second, with values that only it knows
//	tool    end 0                {"is":"ended"}
//	tool    abort "why"
//	tool    done                 {"is":"done"}, and the end
//
// Events come in between as {"is":"event"}, and once a second {"is":"here"}. The keeper ends when its input does.
const (
	wordTarget = "target"
	wordBefore = "before"
	wordBegin  = "begin"
	wordHere   = "here"
	wordEnd    = "end"
	wordAbort  = "abort"
	wordDone   = "done"

	isReady  = "ready"
	isTaken  = "taken"
	isBusy   = "busy"
	isFailed = "failed"
	isBegan  = "began"
	isEnded  = "ended"
	isEvent  = "event"
	isUndone = "undone"
	isDone   = "done"
	isHere   = "here" // once a second while it watches

	maxLine   = 64 << 20 // the points of before are many
	maxPoints = 1 << 16
	maxValues = 256
	maxText   = 1 << 10 // bytes of a text that is said
)

// A hello is the first line to a keeper.
type hello struct {
	Plan     *chaos.Plan   `json:"plan"`
	Dir      string        `json:"dir"`
	StateDir string        `json:"state_dir"`
	Tool     owner         `json:"tool"`
	Lease    time.Duration `json:"lease_ns"`
	// Epoch is when the run began, by the clock that does not stop or go back.
	Epoch int64 `json:"epoch_ns"`
}

// A taking is the target, and what is done to it.
type taking struct {
	Target *fault.Target     `json:"target"`
	Faults []*fault.Resolved `json:"faults"`
}

// A reply is a line of the keeper.
type reply struct {
	Is      string            `json:"is"`
	Fault   int               `json:"fault"`
	Text    string            `json:"text,omitempty"`
	Hint    string            `json:"hint,omitempty"`
	Proxies map[string]string `json:"proxies,omitempty"`
	Journal string            `json:"journal,omitempty"`
	Busy    *BusyError        `json:"busy,omitempty"`
	Event   *chaos.Event      `json:"event,omitempty"`
	Done    []chaos.Done      `json:"done,omitempty"`
	Left    []string          `json:"left,omitempty"`
}

// A word is a line of the tool.
type word struct {
	what   string
	fault  int
	why    string
	values map[chaos.Metric]float64
	points []chaos.Point
	taking *taking
}

// parseWord reads a line of the tool.
func parseWord(line []byte) (word, error) {
	what, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	w := word{what: string(what)}
	var into any
	switch w.what {
	case wordTarget:
		w.taking = &taking{}
		into = w.taking
	case wordBefore:
		into = &w.points
	case wordBegin, wordEnd:
		into = &w.fault
	case wordHere:
		into = &w.values
	case wordAbort:
		into = &w.why
	case wordDone:
		if len(rest) > 0 {
			return w, errors.New("more follows the word done")
		}
		return w, nil
	default:
		return w, fmt.Errorf("%.40q is no word of the tool", w.what)
	}
	if w.what == wordHere && len(rest) == 0 {
		return w, nil
	}
	if err := json.Unmarshal(rest, into); err != nil {
		return w, fmt.Errorf("what follows the word %s is not understood: %w", w.what, err)
	}
	return w, w.check()
}

func (w *word) check() error {
	w.why = clip(w.why)
	switch {
	case w.fault < 0:
		return fmt.Errorf("there is no fault %d", w.fault)
	case len(w.points) > maxPoints:
		return errors.New("there are too many points")
	case len(w.values) > maxValues:
		return errors.New("there are too many values")
	}
	if t := w.taking; t != nil {
		if t.Target == nil || t.Target.PID <= 1 {
			return errors.New("there is no target")
		}
		for _, f := range t.Faults {
			if f == nil || math.IsNaN(f.Level) || math.IsInf(f.Level, 0) {
				return errors.New("a fault has no level")
			}
		}
	}
	return nil
}

// line is how a word is said.
func line(what string, more any) ([]byte, error) {
	if more == nil {
		return []byte(what + "\n"), nil
	}
	b, err := json.Marshal(more)
	if err != nil {
		return nil, fmt.Errorf("telling the keeper: %w", err)
	}
	return append(append([]byte(what+" "), b...), '\n'), nil
}

// parseReply reads a line of the keeper.
func parseReply(line []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("what the keeper says makes no sense: %w", err)
	}
	switch r.Is {
	case isReady, isTaken, isFailed, isBegan, isEnded, isDone, isHere:
	case isBusy:
		if r.Busy == nil {
			return r, errors.New("the keeper does not say what is busy")
		}
	case isUndone:
		if len(r.Done) != 1 {
			return r, errors.New("the keeper does not say what was undone")
		}
	case isEvent:
		if r.Event == nil {
			return r, errors.New("the keeper says nothing of an event")
		}
	default:
		return r, fmt.Errorf("the keeper says %.40q", r.Is)
	}
	if r.Event != nil {
		r.Event.Text = clip(r.Event.Text)
	}
	r.Text, r.Hint = clip(r.Text), clip(r.Hint)
	return r, nil
}

// readLine reads a line that may be long.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > most {
			return nil, fmt.Errorf("a line is longer than %d bytes", most)
		}
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// clip makes a text fit, one line, and valid.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText-3], "") + "…"
	}
	return s
}
