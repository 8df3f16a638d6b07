package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/keeper"
	"github.com/heapwright/heapwright/cmd/internal/chaos/sense"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/cmd/internal/experiment/measure"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/record"
)

// locate finds what the faults are about.
func (t *local) locate(ctx context.Context, pid int, container string) error {
	var err error
	if t.where, err = fault.LocateIn(ctx, pid, container, t.expand(t.plan.Target.Debug)); err != nil {
		return err
	}
	if t.process, err = goproc.Identify(pid); err != nil {
		// What is not Go can be stressed from outside, and its runtime is not seen.
		t.process = record.Process{PID: pid, Name: t.where.Name}
	}
	return nil
}

// await waits for the end of a process that we have not started.
func (t *local) await() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-t.closing:
			return
		case <-tick.C:
			if t.where.Alive() != nil {
				close(t.gone)
				return
			}
		}
	}
}

// Process implements Target, as do those that follow.
func (t *local) Process() record.Process { return t.process }

func (t *local) Cgroup() (string, int) { return t.where.Memory.Path, t.where.Memory.Version }

func (t *local) Gone() <-chan struct{} { return t.gone }

func (t *local) Resolve(ctx context.Context) ([]*fault.Resolved, error) {
	t.awaitDebug(ctx)
	room, err := fault.Look()
	if err != nil {
		return nil, err
	}
	var out []*fault.Resolved
	for _, f := range t.plan.Faults {
		f.Address, f.Send, f.Upstream = t.expand(f.Address), t.expand(f.Send), t.expand(f.Upstream)
		r, err := fault.Resolve(ctx, f, t.where, t.plan.Caps, room)
		if err != nil {
			return nil, fmt.Errorf("fault %s: %w", f.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// awaitDebug waits until something listens where the debug page of a target is to be
// that was just started: it may be ready before its page is. That nothing does is for
// who asks the page to say.
func (t *local) awaitDebug(ctx context.Context) {
	u, err := url.Parse(t.where.Debug)
	if t.started == nil || err != nil || u.Host == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, debugWithin)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.gone:
			return
		case <-tick.C:
		}
	}
}

func (t *local) Keep(ctx context.Context, faults []*fault.Resolved, epoch time.Time) (Keeper, error) {
	t.where.Upstreams = map[string]string{}
	for _, f := range t.plan.Opens() {
		t.where.Upstreams[f.Name] = t.expand(f.Upstream)
	}
	if t.early == nil {
		c := t.config(epoch)
		c.Target, c.Faults = t.where, faults
		return keeper.Start(ctx, c)
	}
	if err := t.early.Take(ctx, t.where, faults); err != nil {
		return nil, err
	}
	k := t.early
	t.early = nil
	return newShifted(k, t.epoch.Sub(epoch)), nil
}

func (t *local) Load(ctx context.Context) (Load, error) {
	l := t.plan.Load
	g, err := load.Start(ctx, load.Config{
		Targets: []load.Target{load.Of(*l, t.expand)}, Rate: float64(l.Rate), Arrivals: l.Arrivals,
		Connections: l.Connections, Timeout: l.Timeout, Seed: t.plan.Seed, Every: every,
	})
	if err != nil {
		return nil, err
	}
	if err := g.Measure(); err != nil {
		return nil, err
	}
	return g, nil
}

// debugWithin is how long a started target may take to serve its debug page.
const debugWithin = 10 * time.Second

// How long a warm-up lasts: as long as it takes for the heap to settle, within these.
const leastWarm, mostWarm = 3 * time.Second, 20 * time.Second

func (t *local) Warm(ctx context.Context) error {
	w, err := measure.Begin(ctx, t.where.PID, 0)
	unreadable := new(measure.UnreadableError)
	switch {
	case errors.As(err, &unreadable):
		select {
		case <-ctx.Done():
		case <-time.After(leastWarm):
		}
		return ctx.Err()
	case err != nil:
		return err
	}
	defer w.Close()
	_, err = w.Warm(ctx, leastWarm, mostWarm)
	return err
}

func (t *local) Watch(ctx context.Context, epoch time.Time) (Watch, error) {
	s, err := sense.Open(ctx, t.where.PID, sense.Options{Ready: t.expand(t.plan.Target.Ready), Debug: t.expand(t.plan.Target.Debug)})
	if err != nil {
		return nil, err
	}
	w := &watch{Sense: s}
	if source, err := t.machine.Attach(ctx, t.where.PID); err == nil {
		w.recording = startRecording(ctx, source)
	}
	return w, nil
}

// A watch is what is seen of a target, and its recording where there is one.
type watch struct {
	*sense.Sense
	recording *recording
}

func (w *watch) Recording(from, to time.Time) *record.Recording {
	if w.recording == nil {
		return nil
	}
	return w.recording.between(from, to)
}

func (w *watch) Close() {
	w.Sense.Close()
	if w.recording != nil {
		w.recording.close()
	}
}

// settings are the files of a cgroup that faults change.
var settings = []string{
	"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.oom_control",
	"memory.max", "memory.high", "memory.low", "memory.swap.max", "memory.oom.group",
	"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "cgroup.freeze", "freezer.state", "cgroup.subtree_control",
}

// same reports whether a cgroup is the one that it was when it was first asked for. An
// engine that starts a container again makes another at the same path, and what that
// holds is the engine's.
func (t *local) same(path string) bool {
	is, err := os.Stat(path)
	if err != nil {
		return false
	}
	was, ok := t.groups[path]
	if !ok {
		if t.groups == nil {
			t.groups = map[string]os.FileInfo{}
		}
		t.groups[path] = is
		return true
	}
	return os.SameFile(was, is)
}

// Settings implements Target: the files of its cgroups, what there is below and in
// these that is ours, whether it is stopped, and the settings of its runtime.
func (t *local) Settings(ctx context.Context) map[string]string {
	out := map[string]string{}
	seen := map[string]bool{}
	us, _ := os.Readlink("/proc/self/exe")
	for _, d := range []fault.Dir{t.where.Memory, t.where.CPU, t.where.Freezer} {
		// What is not its own is not changed by us, and others change it.
		if !d.Own || seen[d.Path] {
			continue
		}
		seen[d.Path] = true
		held := map[string]string{}
		for _, name := range settings {
			path := filepath.Join(d.Path, name)
			if b, err := os.ReadFile(path); err == nil {
				text := strings.Join(strings.Fields(string(b)), " ")
				if name == "memory.oom_control" { // it counts too
					text, _, _ = strings.Cut(text, " under_oom")
				}
				held[path] = text
			}
		}
		// After they were read: it may be made anew meanwhile.
		if !t.same(d.Path) {
			continue
		}
		maps.Copy(out, held)
		if below, err := os.ReadDir(d.Path); err == nil {
			for _, e := range below {
				if e.IsDir() && strings.HasPrefix(e.Name(), "heapwright") {
					out["the cgroup "+filepath.Join(d.Path, e.Name())] = "is there"
				}
			}
		}
		if b, err := os.ReadFile(filepath.Join(d.Path, "cgroup.procs")); err == nil {
			for _, pid := range strings.Fields(string(b)) {
				if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil && exe == us && pid != strconv.Itoa(t.where.PID) {
					out["our process "+pid] = "is there"
				}
			}
		}
	}
	if t.where.Alive() != nil {
		return out
	}
	if state := stateOf(t.where.PID); state == "T" || state == "t" {
		out["the target"] = "is stopped"
	}
	// A program may move its own limit: that is not of us. One that is asked for it at
	// its page is one of those, and the keeper says whether it took ours back.
	if t.where.Debug != "" || !slices.ContainsFunc(t.plan.Faults, func(f chaos.Fault) bool { return f.Kind == chaos.SoftLimit }) {
		return out
	}
	if source, err := t.machine.Attach(ctx, t.where.PID); err == nil {
		var s record.Sample
		if source.Sample(&s) == nil {
			if s.Has.Has(record.FieldGOMEMLIMITBytes) {
				out["GOMEMLIMIT"] = strconv.FormatInt(s.GOMEMLIMITBytes, 10)
			}
		}
		source.Close()
	}
	return out
}

// stateOf is the kernel's letter for what a process does.
func stateOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}

// Close implements Target.
func (t *local) Close(ctx context.Context) (left []string) {
	close(t.closing)
	if t.started != nil {
		dir, group := t.started.Expand("{dir}"), t.started.Cgroup()
		t.started.Stop(ctx)
		for _, path := range []string{dir, group} {
			if _, err := os.Lstat(path); path != "" && err == nil {
				left = append(left, path+" is there")
			}
		}
	}
	if t.early != nil { // it never had anything to do
		if _, _, err := t.early.Done(); err != nil {
			left = append(left, err.Error())
		}
	}
	return left
}

// A shifted is a keeper whose times are since another instant.
type shifted struct {
	*keeper.Keeper
	by     time.Duration
	events chan chaos.Event
}

func newShifted(k *keeper.Keeper, by time.Duration) *shifted {
	s := &shifted{k, by, make(chan chaos.Event)}
	go func() {
		defer close(s.events)
		for e := range k.Events() {
			e.At = max(e.At+by, 0)
			s.events <- e
		}
	}()
	return s
}

func (s *shifted) done(d chaos.Done) chaos.Done {
	d.Began, d.Ended = max(d.Began+s.by, 0), max(d.Ended+s.by, 0)
	return d
}

func (s *shifted) Events() <-chan chaos.Event { return s.events }

func (s *shifted) Undone(i int) (chaos.Done, bool) {
	d, ok := s.Keeper.Undone(i)
	return s.done(d), ok
}

func (s *shifted) Done() (faults []chaos.Done, left []string, err error) {
	faults, left, err = s.Keeper.Done()
	for i := range faults {
		faults[i] = s.done(faults[i])
	}
	return faults, left, err
}
