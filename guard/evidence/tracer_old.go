//go:build !go1.25

package evidence

import (
	"errors"
	"io"
)

var errNoTracer = errors.New("the flight recorder needs Go 1.25, build with that")

// A tracer needs Go 1.25.
type tracer struct{}

func (*tracer) start() error          { return errNoTracer }
func (*tracer) running() bool         { return false }
func (*tracer) write(io.Writer) error { return errNoTracer }
func (*tracer) stop()                 {}
