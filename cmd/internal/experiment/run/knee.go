package run

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
)

// A try of a rate: what is measured follows a moment in which it gets going.
const (
	kneeWarmup = 500 * time.Millisecond
	kneeFor    = 2 * time.Second
	// kneeVariants is how many variants are tried. The rate has to suit all, but
	// those of a large sweep differ little in what they can serve.
	kneeVariants = 3
)

// knee looks for the highest rate that the variants can serve, which is that of
// the slowest.
func (b *Bench) knee(ctx context.Context, progress func(Progress)) (*experiment.Knee, error) {
	k := &experiment.Knee{Rate: math.Inf(1)}
	for v := range min(len(b.programs), kneeVariants) {
		name := b.Plan.Variants[v].Name
		progress(Progress{Doing: "looking for the highest rate that " + name + " serves"})
		r, err := b.start(ctx, v)
		if err != nil {
			return nil, err
		}
		if r.end != nil {
			return nil, &UnfitError{Variant: name, Why: "it ended by itself, before the load: " + r.end.Text}
		}
		try := func(ctx context.Context, rate float64) (experiment.KneeTry, error) {
			t, err := b.try(ctx, r, rate)
			t.Variant = v
			return t, err
		}
		opt := load.KneeOptions{}
		if v > 0 {
			opt.Start = k.Rate / 2 // it is somewhere there
		}
		rate, tries, err := load.Knee(ctx, try, opt)
		r.stop(ctx)
		k.Tries = append(k.Tries, tries...)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, &UnfitError{Variant: name, Why: "looking for the highest rate that it serves", Err: err}
		}
		k.Rate = min(k.Rate, rate)
	}
	return k, nil
}

// try loads a process at a rate for a moment.
func (b *Bench) try(ctx context.Context, r *running, rate float64) (experiment.KneeTry, error) {
	gen, err := load.Start(ctx, load.Config{
		Targets: []load.Target{load.Of(b.Plan.Load, r.process.Expand)}, Rate: rate, Arrivals: b.Plan.Load.Arrivals,
		Connections: b.Plan.Load.Connections, Timeout: b.Plan.Load.Timeout, Seed: b.Plan.Seed, Seconds: kneeFor.Seconds(),
	})
	if err != nil {
		return experiment.KneeTry{}, err
	}
	defer gen.Close()
	for i, wait := range []time.Duration{kneeWarmup, kneeFor} {
		select {
		case <-ctx.Done():
			return experiment.KneeTry{}, ctx.Err()
		case <-r.process.Done():
			return experiment.KneeTry{}, fmt.Errorf("it ended by itself at %.0f requests a second: %s", rate, r.process.Log())
		case <-time.After(wait):
		}
		if i == 0 {
			if err := gen.Measure(); err != nil {
				return experiment.KneeTry{}, err
			}
		}
	}
	reports, err := gen.Stop()
	if err != nil {
		return experiment.KneeTry{}, err
	}
	return load.Try(rate, reports[0]), nil
}
