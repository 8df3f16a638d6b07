package run

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/keeper"
	"github.com/heapwright/heapwright/cmd/internal/engine"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/subject"
	"github.com/heapwright/heapwright/record"
)

// A Machine is the lab that this machine is.
type Machine struct {
	Base     string // the plan's directory, which its paths are relative to
	CacheDir string // of builds
	// JournalDir and StateDir are where the keeper writes down what it does; see
	// keeper.Places.
	JournalDir, StateDir string
	Log                  io.Writer // what builds print
	Tool                 string    // name and version
	Keeper               []string  // the command that is the keeper; nil for this program
	// Processes lists the Go processes that are here.
	Processes func(context.Context) ([]record.Process, error)
	// Attach opens a process to be recorded.
	Attach func(ctx context.Context, pid int) (Source, error)
	// Containers lists what the container engines here run. It is asked only for names.
	Containers func(context.Context) ([]engine.Container, error)
}

// Machine implements Lab.
func (m *Machine) Machine() chaos.Machine {
	out := chaos.Machine{CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		out.Kernel = strings.TrimSpace(string(b))
	}
	if room, err := fault.Look(); err == nil {
		out.MemoryBytes = room.TotalBytes
	}
	return out
}

// Sweep implements Lab.
func (m *Machine) Sweep(ctx context.Context) ([]string, error) {
	put, err := keeper.Sweep(ctx, m.JournalDir)
	return put, errors.Join(err, subject.Sweep())
}

// Open implements Lab.
func (m *Machine) Open(ctx context.Context, plan *chaos.Plan, doing func(string)) (Target, error) {
	t := &local{machine: m, plan: plan, expand: func(s string) string { return s }, gone: make(chan struct{}), closing: make(chan struct{})}
	if plan.Target.Start != nil {
		if err := t.start(ctx, doing); err != nil {
			return nil, err
		}
		return t, nil
	}
	pid, container, err := m.find(ctx, plan.Target)
	if err != nil {
		return nil, err
	}
	if err := t.locate(ctx, pid, container); err != nil {
		return nil, err
	}
	go t.await()
	return t, nil
}

// A local is a target on this machine.
type local struct {
	machine *Machine
	plan    *chaos.Plan
	expand  func(string) string // placeholders, of a target that is started
	process record.Process
	where   *fault.Target
	started *subject.Process // nil for one that was found
	early   *keeper.Keeper   // whose proxies the target was started with, until it is given its faults
	epoch   time.Time        // of early
	gone    chan struct{}    // closed when the process has ended
	closing chan struct{}
	groups  map[string]os.FileInfo // its cgroups as Settings first found them
}

// start builds a target and starts it.
func (t *local) start(ctx context.Context, doing func(string)) (err error) {
	doing("building the target")
	spec := t.plan.Target
	v := experiment.Variant{Name: "target", GOGC: spec.GOGC, GOMEMLIMIT: spec.GOMEMLIMIT, MemoryLimit: spec.MemoryLimit, CPUQuota: spec.CPUQuota}
	b := &subject.Builder{CacheDir: t.machine.CacheDir, Base: t.machine.Base, Log: t.machine.Log}
	program, err := b.Build(ctx, *spec.Start, v)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.Close(ctx)
		}
	}()
	what := *spec.Start
	proxied, err := t.proxies(ctx, doing)
	if err != nil {
		return err
	}
	replace(&what, proxied)
	doing("starting the target")
	t.started, err = subject.Start(ctx, subject.Spec{Program: program, Subject: what, Variant: v, Group: subject.Controllers{Memory: true, CPU: true}, Crowded: true})
	if limit := new(subject.LimitError); errors.As(err, &limit) && !t.needsGroup() {
		t.started, err = subject.Start(ctx, subject.Spec{Program: program, Subject: what, Variant: v})
	}
	if err != nil {
		return err
	}
	t.expand = func(s string) string { return t.started.Expand(proxied.Replace(s)) }
	go func() {
		<-t.started.Done()
		close(t.gone)
	}()
	return t.locate(ctx, t.started.PID(), "")
}

// proxies starts the keeper early where the plan has proxies: they have to listen before
// the target is there. It returns what {proxy.NAME} stands for.
func (t *local) proxies(ctx context.Context, doing func(string)) (*strings.Replacer, error) {
	if len(t.plan.Opens()) == 0 {
		return strings.NewReplacer(), nil
	}
	doing("opening the proxies")
	t.epoch = time.Now()
	k, err := keeper.Start(ctx, t.config(t.epoch))
	if err != nil {
		return nil, err
	}
	t.early = k
	var pairs []string
	for name, addr := range k.Proxies() {
		pairs = append(pairs, "{proxy."+name+"}", addr)
	}
	return strings.NewReplacer(pairs...), nil
}

func (t *local) config(epoch time.Time) keeper.Config {
	m := t.machine
	return keeper.Config{Argv: m.Keeper, Plan: t.plan, Dir: m.JournalDir, StateDir: m.StateDir, Epoch: epoch, Tool: m.Tool}
}

// replace replaces what a plan leaves open in the texts of a subject.
func replace(s *experiment.Subject, r *strings.Replacer) {
	words := func(in []string) (out []string) {
		for _, w := range in {
			out = append(out, r.Replace(w))
		}
		return out
	}
	texts := func(in map[string]string) map[string]string {
		out := map[string]string{}
		for k, v := range in {
			out[k] = r.Replace(v)
		}
		return out
	}
	if len(s.Command) > 1 {
		s.Command = append(s.Command[:1:1], words(s.Command[1:])...)
	}
	s.Args, s.Env, s.Files = words(s.Args), texts(s.Env), texts(s.Files)
}

// needsGroup reports whether the plan makes no sense without cgroups.
func (t *local) needsGroup() bool {
	return t.plan.Target.MemoryLimit > 0 || t.plan.Target.CPUQuota > 0 || slices.ContainsFunc(t.plan.Faults, func(f chaos.Fault) bool {
		info, _ := f.Kind.Info()
		return info.Memory || info.CPU
	})
}
