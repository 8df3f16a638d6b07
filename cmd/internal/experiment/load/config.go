package load

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A Target is one process under load: exactly one of HTTP, GRPC and Command.
// Placeholders of the process ({port}) are expanded already.
type Target struct {
	HTTP    *experiment.HTTPLoad `json:"http,omitempty"`
	GRPC    *experiment.GRPCLoad `json:"grpc,omitempty"`
	Command []string             `json:"command,omitempty"`
}

// Of is the load of a plan on one process, whose placeholders expand replaces.
func Of(l experiment.Load, expand func(string) string) Target {
	var t Target
	switch {
	case l.HTTP != nil:
		h := *l.HTTP
		h.Requests = nil
		for _, r := range l.HTTP.Requests {
			r.URL, r.Body = expand(r.URL), expand(r.Body)
			header := map[string]string{}
			for k, v := range r.Header {
				header[k] = expand(v)
			}
			r.Header = header
			h.Requests = append(h.Requests, r)
		}
		t.HTTP = &h
	case l.GRPC != nil:
		g := *l.GRPC
		g.Address, g.JSON = expand(g.Address), expand(g.JSON)
		t.GRPC = &g
	default:
		for _, a := range l.Command {
			t.Command = append(t.Command, expand(a))
		}
	}
	return t
}

// A Config is what is to be sent, where to, and when.
type Config struct {
	// Targets is one, or two in a duet: then one stream of arrivals at twice the rate
	// is dealt out by a fair coin. Two streams of the same instants would have the
	// second target always queue behind the first.
	Targets  []Target
	Rate     float64 // requests a second, of each target
	Arrivals string  // experiment.Poisson, experiment.Constant
	// Connections is how many there are to each target. Over HTTP/1.1 that is also how
	// many requests can be under way; over HTTP/2 and gRPC it is a hundred times that.
	// What is due when that many are under way waits, from when it was due.
	Connections int
	// Timeout is how long after it was due a request is given up on.
	Timeout time.Duration
	Seed    uint64
	// Seconds is how long the measured window will be. Only a command needs to know;
	// for the others it is as long as it is between Measure and Stop.
	Seconds float64
	// Every is the time between two ticks of a measured window; 0 for none. A command
	// makes no ticks.
	Every time.Duration
}

// Bounds of a Config.
const (
	MaxRate        = 1e6
	MaxConnections = 1 << 14
	MaxTimeout     = time.Minute // what the histogram of latencies ends at
	MaxSeconds     = 24 * 3600
)

// streams is how many requests can be under way on one connection that carries
// several: what servers commonly allow at least.
const streams = 100

func (c Config) check() error {
	if n := len(c.Targets); n != 1 && n != 2 {
		return fmt.Errorf("a load has one target, or two in a duet, not %d", n)
	}
	if !(c.Rate > 0 && c.Rate <= MaxRate) {
		return fmt.Errorf("a rate of %v requests a second is not between 0 and %.0f", c.Rate, float64(MaxRate))
	}
	if c.Arrivals != experiment.Poisson && c.Arrivals != experiment.Constant {
		return fmt.Errorf("arrivals are %s or %s, not %q", experiment.Poisson, experiment.Constant, c.Arrivals)
	}
	if c.Connections < 1 || c.Connections > MaxConnections {
		return fmt.Errorf("%d connections are not between 1 and %d", c.Connections, MaxConnections)
	}
	if c.Timeout <= 0 || c.Timeout > MaxTimeout {
		return fmt.Errorf("a timeout of %v is not between 0 and %v", c.Timeout, MaxTimeout)
	}
	if c.Seconds < 0 || c.Seconds > MaxSeconds || math.IsNaN(c.Seconds) {
		return fmt.Errorf("a window of %v seconds is not between 0 and %d", c.Seconds, MaxSeconds)
	}
	if c.Every != 0 && (c.Every < MinEvery || c.Every > MaxEvery) {
		return fmt.Errorf("%v between two ticks are not between %v and %v", c.Every, MinEvery, MaxEvery)
	}
	commands := 0
	for _, t := range c.Targets {
		kinds := 0
		for _, given := range []bool{t.HTTP != nil, t.GRPC != nil, len(t.Command) > 0} {
			if given {
				kinds++
			}
		}
		if kinds != 1 {
			return errors.New("a target of a load is one of HTTP, gRPC and a command")
		}
		if len(t.Command) > 0 {
			commands++
		}
	}
	if commands > 0 && commands < len(c.Targets) {
		return errors.New("the two targets of a duet are both loaded by a command, or neither is")
	}
	if commands > 0 && c.Every > 0 {
		return errors.New("a load that is made by a command cannot be followed while it lasts")
	}
	if commands > 0 && c.Seconds == 0 {
		return errors.New("a command that makes the load has to know for how many seconds")
	}
	return nil
}
