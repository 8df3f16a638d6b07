package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// samplings are what has to be sampled for the types of profiles.
var samplings = map[string]live.Sampling{
	"heap": live.SampleHeap, "allocs": live.SampleHeap, "block": live.SampleBlock, "mutex": live.SampleMutex,
}

// isOff reports whether an error says that a program does not collect a profile.
func isOff(err error) bool {
	var off *profile.DisabledError
	return errors.As(err, &off)
}

// whileEnabled switches a profile on, waits, takes it, and switches it off.
func whileEnabled(ctx context.Context, env Env, opt profileOptions, ref targetRef, take func() error) (err error) {
	if ref.kind != targetPID {
		return usagef("profile", "--enable changes a process of this machine: give its PID or name")
	}
	changer, err := env.Changes()
	if err != nil {
		return err
	}
	c, err := changer.Open(ctx, ref.pid)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
	}()
	var on *live.SamplingOnError
	switch _, err := c.EnableSampling(ctx, samplings[opt.kind], 0); {
	case errors.As(err, &on):
		env.warnf("the process samples already: this is the profile of all that it has sampled")
		return take()
	case err != nil:
		return err
	}
	lasts := cmp.Or(opt.over, defaultWindow)
	progress, start := env.progress(), env.Now()
	defer progress.Clear()
	end := time.After(lasts)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done(): // what there is by now
			return take()
		case <-end:
			return take()
		case <-tick.C:
			elapsed := env.Now().Sub(start)
			progress.Show(fmt.Sprintf("collecting  %s of %s %s", span(elapsed), span(lasts), term.Bar(elapsed.Seconds(), lasts.Seconds(), 8)))
		}
	}
}
