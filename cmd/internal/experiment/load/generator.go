package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Generator is a load that runs.
type Generator struct {
	by      backend
	release func() bool  // takes back that the end of the context ends the load
	ended   func() error // why the context has
}

// A backend makes the load: a process of ours, or commands of the user's.
type backend interface {
	measure() error
	// finish ends the window, waits for what was due, and returns a report a target.
	finish() ([]Report, error)
	// kill ends all processes at once and returns when they are gone. It may be
	// called at any time, several times, and beside the others, which then fail.
	kill()
}

// Start begins to send, as warm-up: nothing counts yet. When the context ends, so
// does the load. Whoever starts a load ends it, with Stop or Close.
func Start(ctx context.Context, c Config) (*Generator, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("starting the load: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var by backend
	var err error
	if len(c.Targets[0].Command) > 0 {
		by, err = startCommands(c)
	} else {
		by, err = startProcess(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("starting the load: %w", err)
	}
	return &Generator{by: by, release: context.AfterFunc(ctx, by.kill), ended: ctx.Err}, nil
}

// Measure begins the measured window: requests that are due from now on count.
func (g *Generator) Measure() error {
	if err := g.by.measure(); err != nil {
		defer g.Close()
		return g.failed(err)
	}
	return nil
}

// Ticks are what becomes of the requests while the window lasts, where Config.Every
// asks for it; nil where it does not. It is closed when the load has ended, and loses
// the oldest ticks when nobody reads them for long.
func (g *Generator) Ticks() <-chan Tick {
	if p, ok := g.by.(*process); ok && p.config.Every > 0 {
		return p.ticks
	}
	return nil
}

// Stop ends the window, waits until everything that was due in it was answered or
// given up on, and ends the load. There is a report for each target.
func (g *Generator) Stop() ([]Report, error) {
	defer g.Close()
	r, err := g.by.finish()
	if err != nil {
		return nil, g.failed(err)
	}
	return r, nil
}

// failed is why there is no measurement: where the context has ended, whatever came
// of that is not.
func (g *Generator) failed(err error) error {
	if ended := g.ended(); ended != nil {
		err = ended
	}
	return fmt.Errorf("measuring under load: %w", err)
}

// Close ends the load at once, if it has not ended, and returns when no process of
// it is left.
func (g *Generator) Close() {
	g.release()
	g.by.kill()
}

const (
	// startPatience is how long the generator may take to begin, which for gRPC with
	// JSON includes asking the server what the message is.
	startPatience = 15 * time.Second
	// wordPatience is how long it may take to do as it is told.
	wordPatience = 10 * time.Second
	// endPatience is how long it may take to end when it has said everything.
	endPatience = 2 * time.Second
)

var errSilent = errors.New("the generator does not answer: the machine may be too busy for it")
