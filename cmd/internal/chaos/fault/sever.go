package fault

import (
	"context"
	"fmt"
	"sync"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// resolveSever is for what keeps a service from its dependency: a hole, which takes what
// comes and passes nothing on, as a network does that loses every packet, and resets, as
// of a peer that has ended. A level is the share of the connections.
func resolveSever(_ context.Context, f chaos.Fault, _ *Target, _ chaos.Caps, _ Room) (*Resolved, error) {
	if err := checkProxy(f); err != nil {
		return nil, err
	}
	for _, v := range []chaos.Level{f.From, f.Level} {
		if v.Share || !(v.Value >= 0 && v.Value <= 1) {
			return nil, &RefusedError{Why: fmt.Sprintf("%g of the connections", v.Value), hint: "level: 1% to 100%"}
		}
	}
	if f.Level.Value == 0 {
		return nil, &RefusedError{Why: "none of the connections is no fault", hint: "level: 100%"}
	}
	r := &Resolved{Fault: f, From: f.From.Value, Level: f.Level.Value, Words: []string{proxyWords(f)}}
	all := fmt.Sprintf("%.3g%% of the connections", 100*f.Level.Value)
	if f.Kind == chaos.ResetPeer {
		r.Words = append(r.Words, all+" are reset, and so are new ones as soon as they are there")
		return r, nil
	}
	what, ok := map[string]string{
		"": "nothing passes in either direction", chaos.Both: "nothing passes in either direction",
		chaos.To: "nothing passes that the target sends", chaos.From: "nothing passes that the dependency answers",
	}[f.Direction]
	if !ok {
		return nil, &RefusedError{Why: fmt.Sprintf("%q is no direction", printable(f.Direction)), hint: "direction: both, to or from"}
	}
	r.Words = append(r.Words, fmt.Sprintf("in %s, also in new ones, %s, and nobody is told", all, what))
	switch f.End {
	case "", chaos.Keep:
		r.Words = append(r.Words, fmt.Sprintf("when it ends they go on, and what waited passes, up to %d KiB of it a connection and direction", proxyLane>>10))
	case chaos.Reset:
		r.Words = append(r.Words, "when it ends they are reset")
	default:
		return nil, &RefusedError{Why: fmt.Sprintf("%q is no way to end", printable(f.End)), hint: "end: keep or reset"}
	}
	return r, nil
}

// A sever is the effect of a hole, or of resets.
type sever struct {
	proxy     *proxy
	kind      chaos.Kind
	direction string
	resets    bool // what is in the hole when it ends

	mu    sync.Mutex
	pace  *pace // nil before the first level
	level float64
	over  bool
}

func makeSever(_ context.Context, r *Resolved, t *Target, _ Journal) (Effect, error) {
	p, err := t.Proxies.of(r.Fault)
	if err != nil {
		return nil, err
	}
	return &sever{proxy: p, kind: r.Kind, direction: r.Direction, resets: r.End == chaos.Reset}, nil
}

// Set sets the share of the connections. Those of a smaller share are among those of a
// larger one.
func (s *sever) Set(_ context.Context, level float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return errUndone
	case !(level >= 0 && level <= 1):
		return fmt.Errorf("setting the share of connections that a proxy severs: %g", level)
	case s.pace != nil && level == s.level:
		return nil
	}
	to := &pace{}
	if s.kind == chaos.ResetPeer {
		to.resets = level
	} else {
		to.share, to.to, to.from = level, s.direction != chaos.From, s.direction != chaos.To
	}
	s.proxy.setPace(to)
	s.pace, s.level = to, level
	return nil
}

// Measure is what became of the connections since the level was set: what passed, and
// not what was to pass. Of nobody who tried nothing can be said.
func (s *sever) Measure() (float64, string, bool) {
	s.mu.Lock()
	now := s.pace
	s.mu.Unlock()
	if now == nil {
		return 0, "", false
	}
	if s.kind == chaos.ResetPeer {
		reset, all := now.reset.Load(), now.offered.Load() // in this order: there are never more
		if all == 0 {
			return 0, "", false
		}
		return float64(reset) / float64(all), fmt.Sprintf("of %d connections, %d were reset", all, reset), true
	}
	passed, bytes, all := now.passed.Load(), now.bytes.Load(), now.tried.Load()
	if all == 0 {
		return 0, "", false
	}
	return max(0, 1-float64(passed)/float64(all)), fmt.Sprintf("of %d connections that had something to say, %s in all, %d got it through", all, sizeText(float64(bytes)), passed), true
}

// Undo lets everything pass at once, also what waits, unless that is to be reset. The
// proxy goes on listening.
func (s *sever) Undo(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.over = true
	if s.resets {
		s.proxy.resetHeld()
	}
	s.proxy.setPace(&pace{})
	return nil
}
