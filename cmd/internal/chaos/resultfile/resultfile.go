// Package resultfile keeps the results of stress: a [chaos.Run] as one JSON document,
// written whole or not at all. What is read back may be anybody's: it is bounded, and
// what does not hang together is refused. It judges nothing.
package resultfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// Bounds of a result.
const (
	maxBytes  = 256 << 20
	maxRest   = 8 << 20 // of all but points, cycles and events
	maxPoints = 1 << 17 // three and a half hours, of 1 KB or so each; no plan lasts as long
	maxCycles = 1 << 18
	maxEvents = 1 << 16
	maxValues = 64 // of a point
	maxSpan   = 1000 * time.Hour
)

// Suffix is that of the files.
const Suffix = ".hwstress"

// digits are those that are kept of a value.
const digits = 6

// Check makes sure that a result can be written to path, where none may be yet. It
// leaves nothing there.
func Check(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return &ExistsError{Path: path}
	}
	tmp, err := temporary(path)
	if err != nil {
		return fmt.Errorf("creating the result: %w", err)
	}
	tmp.Close()
	os.Remove(tmp.Name())
	return nil
}

func temporary(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
}

// An ExistsError says that there is a result already.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string { return e.Path + " is there already" }

// Hint is what a user can do about it.
func (e *ExistsError) Hint() string {
	return "name another file with -o, or move it away: a result is not overwritten"
}

// Save writes a result. It has its name when all of it is on disk.
func Save(path string, r *chaos.Run) error {
	if err := save(path, r); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

func save(path string, r *chaos.Run) error {
	tmp, err := temporary(path)
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			os.Remove(tmp.Name())
		}
	}()
	w := bufio.NewWriter(tmp)
	if err = Write(w, r); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	// A link fails where a file has come meanwhile, and a rename does not.
	if err = os.Link(tmp.Name(), path); errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		err = os.Rename(tmp.Name(), path)
	}
	if errors.Is(err, os.ErrExist) {
		kept = true // it cannot be had again
		return fmt.Errorf("%w by now; it is in %s", &ExistsError{Path: path}, tmp.Name())
	}
	return err
}

// Write writes a result. Values have six digits.
func Write(w io.Writer, r *chaos.Run) error {
	out := *r
	out.Points = make([]chaos.Point, len(r.Points))
	for i, p := range r.Points {
		out.Points[i] = chaos.Point{At: p.At, Values: make(map[chaos.Metric]float64, len(p.Values))}
		for m, v := range p.Values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				out.Points[i].Values[m] = short(v)
			}
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func short(v float64) float64 {
	if math.Abs(v) >= 1e6 { // bytes are whole
		return math.Round(v)
	}
	s, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if err != nil {
		return v
	}
	return s
}

// Read reads the result in a file.
func Read(path string) (*chaos.Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	defer f.Close()
	r, err := Decode(f)
	if err != nil {
		return nil, fmt.Errorf("reading the result %s: %w", path, err)
	}
	return r, nil
}

// A ForeignError says that something is no result, or none that makes sense.
type ForeignError struct{ Why string }

func (e *ForeignError) Error() string { return e.Why }

// Hint is what a user can do about it.
func (e *ForeignError) Hint() string { return "heapwright stress PLAN.yaml writes results" }

func foreign(format string, args ...any) error { return &ForeignError{fmt.Sprintf(format, args...)} }

// Decode reads a result. What is long is read piece by piece, so that no more is taken
// than is kept.
func Decode(from io.Reader) (*chaos.Run, error) {
	d := json.NewDecoder(io.LimitReader(from, maxBytes+1))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, foreign("it is no result of stress")
	}
	r := &chaos.Run{}
	rest, size := map[string]json.RawMessage{}, 0
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, syntax(d, err)
		}
		key, _ := t.(string)
		switch key {
		case "points":
			r.Points, err = list[chaos.Point](d, maxPoints, key)
		case "cycles":
			r.Cycles, err = list[chaos.Cycle](d, maxCycles, key)
		case "events":
			r.Events, err = list[chaos.Event](d, maxEvents, key)
		default:
			var raw json.RawMessage
			if err = d.Decode(&raw); err != nil {
				err = syntax(d, err)
			}
			if size += len(raw) + len(key); size > maxRest {
				return nil, foreign("there is more in it than a result has")
			}
			rest[key] = raw
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, syntax(d, err)
	}
	text, err := json.Marshal(rest)
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, foreign("it is no result of stress: %v", err)
	}
	return r, check(r)
}

func syntax(d *json.Decoder, err error) error {
	if d.InputOffset() >= maxBytes {
		return foreign("it is longer than %d MiB", maxBytes>>20)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return foreign("it ends in the middle")
	}
	return foreign("at byte %d: %v", d.InputOffset(), err)
}

// list reads an array of at most most elements.
func list[T any](d *json.Decoder, most int, what string) ([]T, error) {
	t, err := d.Token()
	if err != nil {
		return nil, syntax(d, err)
	}
	if t == nil {
		return nil, nil
	}
	if t != json.Delim('[') {
		return nil, foreign("its %s are no list", what)
	}
	var out []T
	for d.More() {
		if len(out) == most {
			return nil, foreign("it has more than %d %s", most, what)
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, syntax(d, err)
		}
		out = append(out, v)
	}
	_, err = d.Token()
	if err != nil {
		return nil, syntax(d, err)
	}
	return out, nil
}

// check refuses what a run cannot have come to, so that who reads on need not.
func check(r *chaos.Run) error {
	if r.Schema != chaos.ResultSchema {
		return foreign("its schema is %q, not %s", cut(r.Schema), chaos.ResultSchema)
	}
	if sum := sha256.Sum256([]byte(r.PlanText)); hex.EncodeToString(sum[:]) != r.PlanHash {
		return foreign("its plan is not the one that it has the SHA-256 of")
	}
	n := len(r.Plan.Faults)
	fault := func(what string, i, least int) error {
		if i < least || i >= n {
			return foreign("it has %s of fault %d, and its plan has %d", what, i, n)
		}
		return nil
	}
	in := func(d time.Duration) bool { return d >= 0 && d <= maxSpan }
	for _, f := range r.Plan.Faults {
		if _, ok := f.Kind.Info(); !ok {
			return foreign("its plan has a fault of kind %q, which is none", cut(string(f.Kind)))
		}
	}
	var last time.Duration
	for _, p := range r.Points {
		if !in(p.At) || p.At < last {
			return foreign("its points are not in the order of time")
		}
		if len(p.Values) > maxValues {
			return foreign("a point of it has %d values", len(p.Values))
		}
		last = p.At
	}
	last = 0
	for _, p := range r.Phases {
		if err := fault("a phase", p.Fault, -1); err != nil {
			return err
		}
		if !in(p.From) || !in(p.To) || p.To < p.From || p.From < last {
			return foreign("its phases are not in the order of time")
		}
		last = p.From
	}
	for _, e := range r.Events {
		if err := fault("an event", e.Fault, -1); err != nil {
			return err
		}
		if !in(e.At) {
			return foreign("an event of it is out of time")
		}
	}
	for _, c := range r.Cycles {
		if !in(c.At) || !in(c.Pause) {
			return foreign("a cycle of it is out of time")
		}
	}
	for _, d := range r.Faults {
		if err := fault("an account", d.Fault, 0); err != nil {
			return err
		}
		if !in(d.Began) || !in(d.Ended) || !in(d.Undo) {
			return foreign("a fault of it is out of time")
		}
	}
	for _, d := range r.Findings {
		if err := fault("a diagnosis", d.Fault, -1); err != nil {
			return err
		}
		if !in(d.First) {
			return foreign("a diagnosis of it is out of time")
		}
	}
	return nil
}

func cut(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
