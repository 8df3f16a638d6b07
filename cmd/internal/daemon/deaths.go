package daemon

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/postmortem/report"
	"github.com/heapwright/heapwright/record"
)

// maxDeaths is how many post-mortems links are remembered for.
const maxDeaths = 1000

// maxKilled is of how many processes kills are counted: a program that has another name
// each time does not fill the memory.
const maxKilled = 10_000

// deaths is what the black box told of.
type deaths struct {
	mu sync.Mutex
	// kills are those of a process. Its last sample is of before it was killed, and the
	// counter of its cgroup goes with the container: nobody else may ever read it.
	kills  map[string]float64
	recent []death
}

type death struct {
	process string // the agent's ID
	id      string // of the post-mortem
	at      time.Time
}

// openBlackBox makes the black box, where the file wants one.
func (d *daemon) openBlackBox() (err error) {
	f := d.opt.File
	d.deaths = &deaths{kills: map[string]float64{}}
	d.discovery.Store(&f.Discovery)
	if !f.OOM.Enabled {
		return nil
	}
	d.box, err = blackbox.New(blackbox.Options{
		Dir: d.oomDir(), Logger: d.opt.Logger, MaxBytes: int64(f.OOM.MaxBytes), MaxProcesses: f.Discovery.MaxProcesses, On: d.tellOf,
		Select: func(p *record.Process) bool { return d.discovery.Load().Watches(p.Name, p.Module, p.MainPackage) },
	})
	if err != nil {
		return fmt.Errorf("starting the black box: %w", err)
	}
	return nil
}

func (d *daemon) oomDir() string { return filepath.Join(d.opt.Dir, "oom") }

// tellOf makes of a kill what the others are to know. The black box goes on meanwhile,
// and ends after it.
func (d *daemon) tellOf(p blackbox.Postmortem) {
	r := postmortem.Examine(p.Evidence)
	e := record.Event{Time: time.Now(), Kind: record.EventOOMKill, Text: report.Headline(r), Data: map[string]string{"memory": string(r.Verdict.Memory)}}
	if k := p.Evidence.Kill; k != nil && !k.Time.IsZero() {
		e.Time = k.Time
	}
	id := strings.TrimSuffix(filepath.Base(p.File), filepath.Ext(p.File))
	if p.File != "" {
		e.Data["postmortem"] = id
	}
	if s := r.Verdict.Site; s != nil {
		e.Data["site"] = s.String()
	}
	process, counter := d.named(&p.Process)
	d.deaths.add(death{process, id, e.Time}, counter)
	if err := d.history.Event(process, e); err != nil && !errors.Is(err, history.ErrTooMany) {
		d.opt.Logger.Error("the kill is not in the history", "process", process, "error", err.Error())
	}
}

// sameStart is by how much the start of one process may differ when it is read twice: the
// clock may have been set in between. No number is given again so soon.
const sameStart = 2 * time.Second

// named is the agent's ID of a process, and the counter of its cgroup as the agent knows
// it; the process's name, where the agent never saw it.
func (d *daemon) named(p *record.Process) (id string, counter float64) {
	var like *agent.Process
	all := d.agent.Processes()
	for i := range all {
		q := &all[i]
		if q.Info.PID == p.PID && q.Info.StartTime.Sub(p.StartTime).Abs() < sameStart {
			like = q
			break
		}
		// The agent may have found another life in its place already.
		if q.Info.Name == p.Name && q.Info.Exe == p.Exe && (like == nil || !q.Up) {
			like = q
		}
	}
	if like == nil {
		return p.Name, 0
	}
	if like.Latest != nil {
		counter, _ = like.Latest.Value(record.FieldCgroupOOMKills)
	}
	return like.ID, counter
}

func (x *deaths) add(one death, counter float64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.kills[one.process]; ok || len(x.kills) < maxKilled {
		x.kills[one.process] = max(x.kills[one.process], counter) + 1
	}
	if len(x.recent) == maxDeaths {
		x.recent = append(x.recent[:0], x.recent[maxDeaths/2:]...)
	}
	x.recent = append(x.recent, one)
}

// count is how many kills of a process there were, by the black box.
func (x *deaths) count(process string) float64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.kills[process]
}

// near is the post-mortem of a process that was killed around an instant, "" for none.
func (x *deaths) near(process string, at time.Time) string {
	const around = 2 * time.Minute // the agent reads counters now and then, and alerts step after that
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.recent) - 1; i >= 0; i-- {
		if one := &x.recent[i]; one.process == process && one.id != "" && at.Sub(one.at).Abs() <= around {
			return one.id
		}
	}
	return ""
}

// alertLink is where the UI shows what an alert is about: of a kill the post-mortem, of
// all else the process at that moment.
func (d *daemon) alertLink(a *alert.Alert) string {
	if a.Signal == alert.OOMKills {
		if id := d.deaths.near(a.Process, a.Since); id != "" {
			path := "/ui/oom?id=" + url.QueryEscape(id)
			if base := d.base.Load(); base != nil {
				return *base + path
			}
			return path
		}
	}
	return d.link(a.Process, a.Since)
}

// boxStats are the black box's, for /metrics.
func (d *daemon) boxStats() func() blackbox.Stats {
	if d.box == nil {
		return nil
	}
	return d.box.Stats
}
