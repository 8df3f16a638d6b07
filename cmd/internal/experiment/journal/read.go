package journal

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

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Read reads a file and holds every line against its sum. A last line that was not
// written to its end does not count. A file that is being written can be read.
func Read(path string) (*experiment.Result, error) {
	result, _, err := ReadSum(path)
	return result, err
}

// ReadSum also returns the sum of the last line, which stands for all of them.
func ReadSum(path string) (*experiment.Result, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("reading the result: %w", err)
	}
	defer f.Close()
	r := reader{path: path}
	if err := r.read(f); err != nil {
		return nil, "", fmt.Errorf("reading the result: %w", err)
	}
	return &r.result, r.sum, nil
}

// A reader takes in a file.
type reader struct {
	path   string
	result experiment.Result
	sum    string
	size   int64 // of the whole lines
	lines  int
}

func (r *reader) read(f io.Reader) error {
	in := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF): // and line is what a write that was cut off left
			if r.lines == 0 {
				return fmt.Errorf("%s has no whole line in it: it is no result, or of a run that ended before it began", r.path)
			}
			return nil
		case errors.Is(err, errLong):
			return r.tampered("is longer than any that heapwright writes")
		case err != nil:
			return err
		}
		if err := r.line(line); err != nil {
			return err
		}
		r.lines++
		r.size += int64(len(line))
		if r.lines > maxLines || r.size > maxFile {
			return fmt.Errorf("%s is larger than any result: %d lines or %d MiB", r.path, maxLines, maxFile>>20)
		}
	}
}

var errLong = errors.New("the line is too long")

// readLine returns a line with its end; with io.EOF, one without.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, errLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (r *reader) tampered(format string, args ...any) error {
	return &TamperedError{r.path, r.lines + 1, fmt.Sprintf(format, args...)}
}

func (r *reader) line(line []byte) error {
	sum, kind, body, ok := decode(line)
	if r.lines == 0 && (!ok || kind != kindHeader) {
		return fmt.Errorf("%s does not begin as a result does: it is something else", r.path)
	}
	switch {
	case !ok:
		return r.tampered("is not in the form in which lines are written")
	case sum != chain(r.sum, kind, body):
		return r.tampered("does not have the sum that it had")
	case r.result.Ending != nil && !resumable(r.result.Ending.How):
		return r.tampered("follows the end")
	case r.lines > 0 && kind == kindHeader:
		return r.tampered("is a second header")
	}
	if err := r.body(kind, body); err != nil {
		return err
	}
	r.sum = sum
	return nil
}

func (r *reader) body(kind string, body []byte) error {
	var err error
	res := &r.result
	// A kind that is not known is a newer release's, and adds to the others.
	switch kind {
	case kindHeader:
		var schema struct {
			Schema string `json:"schema"`
		}
		if err := json.Unmarshal(body, &schema); err == nil && schema.Schema != experiment.ResultSchema {
			return fmt.Errorf("%s has the schema %.40q: this heapwright reads %s", r.path, schema.Schema, experiment.ResultSchema)
		}
		if err = json.Unmarshal(body, &res.Header); err == nil {
			err = checkHeader(&res.Header)
		}
	case kindBlock:
		var b experiment.Block
		if err = json.Unmarshal(body, &b); err == nil {
			err = checkBlock(&b, len(res.Blocks), len(res.Header.Plan.Variants))
		}
		res.Blocks, res.Ending = append(res.Blocks, b), nil
	case kindLook:
		var l experiment.Look
		if err = json.Unmarshal(body, &l); err == nil {
			err = checkVariants(l.Stopped, len(res.Header.Plan.Variants))
		}
		res.Looks, res.Ending = append(res.Looks, l), nil
	case kindEnd:
		e := new(experiment.Ending)
		if err = json.Unmarshal(body, e); err == nil {
			err = checkEnding(e, len(res.Header.Plan.Variants))
		}
		res.Ending = e
	}
	if err != nil {
		return r.tampered("is a %s that makes no sense: %v", kind, err)
	}
	return nil
}

// The checks hold a file to what judges and reports rely on, so that one that was
// made up cannot make them go wrong.

func checkHeader(h *experiment.Header) error {
	switch {
	case h.Plan == nil || len(h.Plan.Variants) < 2 || len(h.Plan.Variants) > 1000:
		return errors.New("it has no plan with variants to compare")
	case hash(h.PlanText) != h.PlanHash:
		return errors.New("the plan's text is not the one that was hashed")
	}
	for _, b := range h.Builds {
		if err := checkVariants([]int{b.Variant}, len(h.Plan.Variants)); err != nil {
			return err
		}
	}
	for v := range h.Forecasts {
		if err := checkVariants([]int{v}, len(h.Plan.Variants)); err != nil {
			return err
		}
	}
	if h.Knee != nil {
		for _, t := range h.Knee.Tries {
			if err := checkVariants([]int{t.Variant}, len(h.Plan.Variants)); err != nil {
				return err
			}
		}
	}
	return nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func checkBlock(b *experiment.Block, n, variants int) error {
	switch {
	case b.N != n:
		return fmt.Errorf("it is number %d, and follows number %d", b.N, n-1)
	case len(b.Arms) > 2:
		return fmt.Errorf("it has %d arms", len(b.Arms))
	case b.Round < 0 || b.Quad < 0 || b.Round > maxLines || b.Quad > maxLines:
		return errors.New("it has no place in the design")
	case !(b.Seconds >= 0 && b.Seconds <= math.MaxInt32):
		return errors.New("it has no length")
	}
	for _, a := range b.Arms {
		if err := checkVariants([]int{a.Variant}, variants); err != nil {
			return err
		}
		if a.Slot < 0 || a.Slot > 1 {
			return fmt.Errorf("it has slot %d", a.Slot)
		}
	}
	return nil
}

func checkEnding(e *experiment.Ending, variants int) error {
	if e.Verdict == nil {
		return nil
	}
	for _, c := range e.Verdict.Comparisons {
		if err := checkVariants([]int{c.Variant}, variants); err != nil {
			return err
		}
	}
	return checkVariants(e.Verdict.Front, variants)
}

func checkVariants(list []int, variants int) error {
	for _, v := range list {
		if v < 0 || v >= variants {
			return fmt.Errorf("it names variant %d of %d", v, variants)
		}
	}
	return nil
}
