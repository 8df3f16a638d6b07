package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// localHost is this machine.
type localHost struct{}

func (localHost) Processes(ctx context.Context) ([]goproc.Entry, error) { return goproc.List(ctx) }

func (localHost) Attach(ctx context.Context, pid int) (Target, error) {
	t, err := process.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	return &localTarget{Target: t}, nil
}

func (localHost) Endpoint(ctx context.Context, url string) (Target, error) {
	return openEndpoint(ctx, url)
}

func (localHost) Readable(exe string) error {
	path, err := exec.LookPath(exe)
	if err != nil {
		return nil // starting it will say so
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	x, err := goproc.ReadExe(f)
	switch {
	case errors.Is(err, goproc.ErrNotGo):
		return nil // a script perhaps, that will run a Go program
	case err != nil:
		return err
	}
	version := x.GoVersion
	if x.GOEXPERIMENT != "" {
		version += " X:" + x.GOEXPERIMENT
	}
	_, err = layout.Lookup(version, x.GOARCH)
	return err
}

// A localTarget is a process of this machine, with its profiles.
type localTarget struct {
	*process.Target
	walker  *profile.Walker // made when first needed
	noWaits bool            // the process's clock is not ours; set with walker
}

// Ready is nil: a process that was attached to gives samples.
func (t *localTarget) Ready() error { return nil }

func (t *localTarget) Hz() float64 { return recorder.DefaultHz }

func (t *localTarget) goroutines() (*profile.Goroutines, error) {
	if t.walker == nil {
		w, err := profile.NewWalker(t.Runtime())
		if err != nil {
			return nil, err
		}
		t.walker = w
		proc, ok := t.Runtime().Memory().(*procmem.Process)
		t.noWaits = ok && !proc.SharesNanotime()
	}
	return t.walker.Goroutines(profile.Options{NoWaits: t.noWaits})
}

// Forget lets go of what makes the next snapshot faster, until it is taken.
func (t *localTarget) Forget() {
	t.walker = nil
	t.Runtime().Table().Forget()
}

func (t *localTarget) Goroutines() (*record.Goroutines, error) {
	g, err := t.goroutines()
	if err != nil {
		return nil, t.gone(err)
	}
	return g.Record(), nil
}

func (t *localTarget) profile(kind record.ProfileKind) (*profile.Profile, error) {
	switch kind {
	case record.ProfileHeap:
		return profile.TakeHeap(t.Runtime())
	case record.ProfileBlock:
		return profile.TakeBlock(t.Runtime())
	case record.ProfileMutex:
		return profile.TakeMutex(t.Runtime())
	}
	return nil, fmt.Errorf("there is no %s profile", kind)
}

// Profile returns nil for a profile that the program does not collect.
func (t *localTarget) Profile(kind record.ProfileKind) (*record.Profile, error) {
	p, err := t.profile(kind)
	var off *profile.DisabledError
	switch {
	case errors.As(err, &off):
		return nil, nil
	case err != nil:
		return nil, t.gone(err)
	}
	return p.Record(), nil
}

// gone turns an error of a walk through a process that ended meanwhile into that.
func (t *localTarget) gone(err error) error {
	if alive := t.Runtime().Alive(); alive != nil {
		return process.Ended(alive)
	}
	return process.Ended(err)
}

func (t *localTarget) WriteProfile(_ context.Context, kind string, w io.Writer) error {
	opt := profile.WriteOptions{Mappings: t.mappings(), Allocs: kind == "allocs"}
	if kind == "goroutine" {
		g, err := t.goroutines()
		if err != nil {
			return t.gone(err)
		}
		return g.WritePprof(w, opt)
	}
	from := record.ProfileKind(kind)
	if opt.Allocs {
		from = record.ProfileHeap
	}
	p, err := t.profile(from)
	if err != nil {
		return t.gone(err)
	}
	return p.WritePprof(w, opt)
}

// mappings are the mappings with the program's code, for the pprof file.
func (t *localTarget) mappings() []profile.Mapping {
	proc, ok := t.Runtime().Memory().(*procmem.Process)
	if !ok {
		return nil
	}
	maps, err := proc.Maps()
	if err != nil {
		return nil // a profile without them is as good, but for disassembly
	}
	exe := t.Process()
	var out []profile.Mapping
	for _, m := range maps {
		if len(m.Perm) < 3 || m.Perm[2] != 'x' || m.Inode == 0 {
			continue
		}
		pm := profile.Mapping{Start: m.Start, Limit: m.End, Offset: m.Offset, File: m.Path}
		if m.Path == exe.Exe {
			pm.BuildID = exe.BuildID
			out = append([]profile.Mapping{pm}, out...)
			continue
		}
		out = append(out, pm)
	}
	return out
}
