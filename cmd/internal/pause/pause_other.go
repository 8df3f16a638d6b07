//go:build !linux

package pause

import (
	"context"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A Stopped is a process that stands still.
type Stopped struct{}

// Stop fails: it needs Linux.
func Stop(context.Context, *procmem.Process, Options) (*Stopped, error) { return nil, ErrUnsupported }

// Resume does nothing.
func (*Stopped) Resume() Report { return Report{} }

// Expired returns nil, which is never ready.
func (*Stopped) Expired() <-chan struct{} { return nil }
