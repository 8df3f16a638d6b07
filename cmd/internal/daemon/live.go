package daemon

import (
	"context"
	"encoding/json"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/cmd/internal/web/api"
)

// A live makes the live stream of the agent's updates.
type live struct{ agent *agent.Agent }

// fleetInterval is between the rows of all processes.
const fleetInterval = 2 * time.Second

// Follow implements web.Live.
func (l live) Follow(ctx context.Context, process string) (<-chan web.Message, error) {
	if process != "" {
		if _, ok := l.agent.Process(process); !ok {
			return nil, web.ErrUnknown
		}
	}
	updates, end := l.agent.Subscribe(8)
	out := make(chan web.Message)
	go func() {
		defer close(out)
		defer end()
		var last time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case u, ok := <-updates:
				if !ok {
					return
				}
				var m web.Message
				switch {
				case process != "":
					if m, ok = l.sample(u, process); !ok {
						continue
					}
				case u.Time.Sub(last) < fleetInterval:
					continue
				default:
					last = u.Time
					m = message("processes", api.Fleet(l.agent, u.Time))
				}
				select {
				case <-ctx.Done():
					return
				case out <- m:
				}
			}
		}
	}()
	return out, nil
}

func (l live) sample(u agent.Update, process string) (web.Message, bool) {
	for i := range u.Processes {
		if p := &u.Processes[i]; p.ID == process {
			return message("sample", api.NewLiveSample(p, u.Cycles[process])), true
		}
	}
	return web.Message{}, false
}

func message(event string, v any) web.Message {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte("null") // numbers that are none are left out by api's types; nothing else can fail
	}
	return web.Message{Event: event, Data: data}
}
