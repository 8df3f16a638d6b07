package alert

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// A memory is what fires, on disk: an agent that is started again goes on with it, so
// that who was told that something began is told that it ended.
type memory struct {
	Schema string  `json:"schema"`
	Active []Alert `json:"active"`
}

const (
	memorySchema = "heapwright.firing/1"
	maxMemory    = 16 << 20
)

// Remember takes up the alerts that fired when the agent ended, from a file, and keeps
// those that fire in it from now on. A file that cannot be read is an error; the alerts
// go on without it, and write it anew.
func (a *Alerter) Remember(file string, now time.Time) error {
	m, err := readMemory(file)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file = file
	ended := a.engine.restore(m.Active, now)
	for i := range ended {
		a.addLink(&ended[i])
	}
	a.tell(now, ended)
	return err
}

func readMemory(file string) (m memory, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("reading the alerts that fired: %w", err)
	}
	defer f.Close()
	if err = json.NewDecoder(io.LimitReader(f, maxMemory)).Decode(&m); err != nil || m.Schema != memorySchema {
		return memory{}, fmt.Errorf("reading the alerts that fired from %s: %w", file, cmp.Or(err, fmt.Errorf("schema %q", m.Schema)))
	}
	return m, nil
}

// remember writes down what fires. a.mu is held.
func (a *Alerter) remember() {
	if a.file == "" {
		return
	}
	text, err := json.Marshal(memory{memorySchema, a.engine.Active()})
	if err == nil {
		err = os.WriteFile(a.file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(a.file+".new", a.file)
	}
	if err != nil {
		a.log.Warn("the alerts that fire cannot be written down: after a restart nobody is told of their end", "error", err)
	}
}

// restore goes on with alerts of an engine before, and returns the end of those whose
// rules are no longer in force. What became of their processes is not known yet: they have
// as long to come back as those that end.
func (e *Engine) restore(active []Alert, now time.Time) []Alert {
	var out []Alert
	for _, a := range active {
		if a.State != Firing || a.Process == "" || len(e.tracks) >= maxTracks {
			continue
		}
		t := track{process: a.Process, finding: a.Finding, rule: e.ruleOf(&a)}
		if t.rule < 0 {
			a.State, a.At, a.Note = Resolved, now, notInForce
			out = append(out, a)
			continue
		}
		if e.tracks[t] == nil {
			e.tracks[t] = &progress{known: now, firing: true, sent: now, alert: a}
			e.lastUp[a.Process] = now
		}
	}
	return out
}

// ruleOf is the rule that an alert is of, -1 when there is none.
func (e *Engine) ruleOf(a *Alert) int {
	for i := range e.rules {
		if r := &e.rules[i]; r.Name == a.Rule && r.matches(a.Process) && (r.Signal == Finding) == (a.Finding != "") {
			return i
		}
	}
	return -1
}
