package subject

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/e2e/servers"
)

// rates are operations a second, at which each server uses a quarter to a half of a
// core.
var rates = map[string]float64{"nats": 30016, "etcd": 200, "caddy": 250, "coredns": 7000, "prometheus": 40}

// serverWarmUp is longer than the workloads': what a server keeps settles slowly.
const serverWarmUp = 5 * time.Second

// Servers are the real servers, with something to keep.
func Servers() (out []Subject) {
	for _, s := range servers.Laden() {
		out = append(out, Subject{
			Name: s.Name,
			build: func(ctx context.Context, toolchain string) (string, error) {
				recipe, err := s.BuiltWith(toolchain)
				if err != nil {
					return "", err
				}
				return recipe.Build(ctx)
			},
			start: func(ctx context.Context, o start) (*Run, error) { return startServer(ctx, s, o) },
		})
	}
	return out
}

func startServer(ctx context.Context, s servers.Server, o start) (*Run, error) {
	inst, err := s.Start(ctx, o.bin, o.dir, servers.Options{Env: o.env, Wrap: o.wrap})
	if err != nil {
		return nil, err
	}
	loadCtx, cancel := context.WithTimeout(ctx, o.limit)
	loaded := make(chan struct{})
	var stats servers.Stats
	var loadErr error
	go func() {
		defer close(loaded)
		stats, loadErr = inst.Load(loadCtx, servers.Load{Rate: rates[s.Name]})
	}()
	r := &Run{PID: inst.PID, Stop: func() (string, error) {
		cancel()
		<-loaded
		said := fmt.Sprintf("done %d, left out %d", stats.Ops, stats.LeftOut+stats.Errors)
		return said, errors.Join(loadErr, inst.Stop())
	}}
	select {
	case <-time.After(serverWarmUp):
		return r, nil
	case <-loaded:
		err = errors.New("the load ended")
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, stopErr := r.Stop()
	return nil, errors.Join(err, stopErr)
}
