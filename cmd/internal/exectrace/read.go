package exectrace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/exp/trace"
)

// Options bound what reading takes. A field that is zero means its default.
type Options struct {
	// MaxGeneration is the size in bytes of the longest generation that is read:
	// about seven times as much is in memory for it. Default 512 MiB.
	MaxGeneration int64
	// MaxGoroutines is how many goroutines are followed at a time. Default 1<<20.
	MaxGoroutines int
	// Progress, if not nil, is told now and then how many bytes were read.
	Progress func(bytes int64)
}

// A FormatError says that the file is no trace that can be read.
type FormatError struct {
	Reason string
	Advice string
}

func (e *FormatError) Error() string { return "reading the execution trace: " + e.Reason }

// Hint says what can be read.
func (e *FormatError) Hint() string { return e.Advice }

// A CutError says that a trace could be read up to a point only. What was read
// until then is in the report.
type CutError struct {
	Offset int64 // bytes of the file read until then
	Err    error
}

func (e *CutError) Error() string {
	return fmt.Sprintf("reading the execution trace: it ends or is damaged before byte %d: %v", e.Offset, e.Err)
}

func (e *CutError) Unwrap() error { return e.Err }

// Read reads a trace to its end and judges it. With a *CutError the report holds
// what came before.
func Read(ctx context.Context, r io.Reader, opt Options) (*Report, error) {
	f, err := newFrames(r, cmp.Or(opt.MaxGeneration, defaultGeneration))
	if err != nil {
		return nil, err
	}
	c := newCollector(cmp.Or(opt.MaxGoroutines, defaultGoroutines))
	why := collect(ctx, f, c, opt.Progress)
	report := c.report()
	report.Trace.Format, report.Trace.Bytes = f.format, f.read
	report.Trace.Generations, report.Trace.LargestGeneration = f.generations, f.largest
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if why != nil {
		report.Trace.Cut = why.Error()
	}
	Judge(report)
	if why != nil {
		return report, &CutError{Offset: f.read, Err: why}
	}
	return report, nil
}

const (
	defaultGeneration = 512 << 20
	defaultGoroutines = 1 << 20
	// between is how many events are read between looks at the context.
	between = 1 << 14
)

// collect reads events until the trace ends, or cannot be read on. The reader is
// for traces that Go wrote: what makes it panic is a trace that Go did not.
func collect(ctx context.Context, f *frames, c *collector, progress func(int64)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it contradicts itself: %.200s", firstLine(fmt.Sprint(p)))
		}
	}()
	r, err := trace.NewReader(f)
	if err != nil {
		return errors.New(firstLine(err.Error()))
	}
	for i := 0; ; i++ {
		if i%between == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if progress != nil {
				progress(f.read)
			}
		}
		e, err := r.ReadEvent()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			// What is wrong with the file says more than what the reader made of it.
			if f.err != nil && !errors.Is(f.err, io.EOF) {
				return f.err
			}
			return fmt.Errorf("%.200s", firstLine(err.Error()))
		}
		if err := c.take(&e); err != nil {
			return err
		}
	}
}

// firstLine is the first line of a text: the reader's errors go on with its state.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
