package run

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/engine"
	"github.com/heapwright/heapwright/record"
)

const (
	// shortID is how many digits of an ID engines show. So many are an ID and no name.
	shortID = 12
	// leastID are the digits that name a container where no engine says that they are its
	// name: fewer would soon be those of another one, as "db" is.
	leastID = 6
)

// find is the process that a plan names, and the container that it is in, when that is
// what is named: its ID, or the name of its cgroup.
func (m *Machine) find(ctx context.Context, want chaos.Target) (pid int, container string, err error) {
	if want.PID != 0 {
		return want.PID, "", nil
	}
	all, err := m.Processes(ctx)
	if err != nil {
		return 0, "", err
	}
	all = slices.DeleteFunc(all, func(p record.Process) bool { return p.PID == os.Getpid() })
	if want.Container == "" {
		fits := slices.DeleteFunc(slices.Clone(all), func(p record.Process) bool { return !named(p, want.Name) })
		p, err := only(fits, "named "+strconv.Quote(want.Name))
		return p.PID, "", err
	}
	var known []engine.Container
	if !isID(want.Container, shortID) && m.Containers != nil {
		known, err = m.Containers(ctx)
	}
	return choose(all, want, known, err)
}

func named(p record.Process, name string) bool { return p.Name == name || p.Module == name }

// isID reports whether a text may be an ID of so many digits, or how one begins.
func isID(s string, digits int) bool {
	return len(s) >= digits && strings.Trim(s, "0123456789abcdef") == ""
}

// choose finds the process of a container among those that are here. known is what the
// engines run, unasked why they could not be asked.
//
// An engine knows the name. A container that was made without one has it as the name of
// its cgroup. Where nobody has such a name, it may be how an ID begins.
func choose(all []record.Process, want chaos.Target, known []engine.Container, unasked error) (int, string, error) {
	name := want.Container
	what := "in a container " + strconv.Quote(name)
	called := engine.Called(known, name)
	if len(called) > 1 {
		var names []string
		for _, c := range called {
			names = append(names, c.Name)
		}
		return 0, "", &RefusedError{Why: fmt.Sprintf("there are %d containers %q", len(called), name), Advice: "container: one of " + strings.Join(names, ", ")}
	}
	container := func(p record.Process) string {
		switch {
		case len(called) == 1 && p.ContainerID == called[0].ID:
			return p.ContainerID
		case p.ContainerID == "" && strings.HasSuffix(p.CgroupPath, "/"+name):
			return name
		}
		return ""
	}
	in := inside(all, container)
	switch {
	case len(in) == 0 && len(called) == 1:
		return 0, "", &RefusedError{Why: fmt.Sprintf("there is no Go process in container %q (%s)", name, called[0].ID[:shortID]),
			Advice: "for faults around a process that is not Go give its PID: docker inspect -f '{{.State.Pid}}' " + name}
	case len(in) == 0 && isID(name, leastID):
		container = func(p record.Process) string {
			if strings.HasPrefix(p.ContainerID, name) {
				return p.ContainerID
			}
			return ""
		}
		in = inside(all, container)
	}
	if len(in) == 0 {
		return 0, "", notThere(name, what, known, unasked)
	}
	if id := container(in[0]); slices.ContainsFunc(in, func(p record.Process) bool { return container(p) != id }) {
		return 0, "", &RefusedError{Why: fmt.Sprintf("there are several containers whose ID begins with %q", name), Advice: "give more of the ID, or pid: one of " + pids(in)}
	}
	if want.Name != "" {
		what = "named " + strconv.Quote(want.Name) + " " + what
		in = slices.DeleteFunc(in, func(p record.Process) bool { return !named(p, want.Name) })
	}
	p, err := only(in, what)
	if e, ok := err.(*RefusedError); ok && len(in) > 1 {
		e.Advice = "give the name of one beside the container, name: " + in[0].Name + ", or one of the PIDs " + pids(in)
		if want.Name != "" {
			e.Advice = "give one of the PIDs " + pids(in)
		}
	}
	return p.PID, container(p), err
}

// inside are the processes that are in the container.
func inside(all []record.Process, container func(record.Process) string) []record.Process {
	return slices.DeleteFunc(slices.Clone(all), func(p record.Process) bool { return container(p) == "" })
}

// notThere refuses a container that no Go process is in, and says where its name may be
// known.
func notThere(name, what string, known []engine.Container, unasked error) error {
	e := &RefusedError{Why: "there is no Go process " + what}
	switch {
	case isID(name, shortID):
		e.Advice = "heapwright ps --json has the container_id of each Go process here"
	case unasked != nil:
		e.Err = unasked
		e.Advice = "a name is known to its engine alone: give the container's ID, or the PID that docker inspect -f '{{.State.Pid}}' " + name + ", crictl inspect or runc state says"
	case len(known) == 0:
		e.Advice = "no container runs in the engines here: give the ID of one of another engine, or pid:"
	default:
		const most = 10
		var names []string
		for _, c := range known {
			if c.Name != "" {
				names = append(names, c.Name)
			}
		}
		slices.Sort(names)
		e.Advice = "those that the engine runs are " + strings.Join(names[:min(len(names), most)], ", ")
		if n := len(names) - most; n > 0 {
			e.Advice += fmt.Sprintf(" and %d more", n)
		}
	}
	return e
}

// only is the one process there is.
func only(fits []record.Process, what string) (record.Process, error) {
	switch len(fits) {
	case 0:
		return record.Process{}, &RefusedError{Why: "there is no Go process " + what, Advice: "heapwright ps lists the Go processes here"}
	case 1:
		return fits[0], nil
	}
	return record.Process{}, &RefusedError{Why: fmt.Sprintf("there are %d Go processes %s", len(fits), what), Advice: "give one of the PIDs " + pids(fits)}
}

func pids(all []record.Process) string {
	var out []int
	for _, p := range all {
		out = append(out, p.PID)
	}
	return strings.Trim(fmt.Sprint(out), "[]")
}
