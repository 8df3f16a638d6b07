package cgroup2

import (
	"path"
	"time"
)

// packages have tests that touch cgroups, and which of their tests are run where not
// all of them can be: there is no go command in the machine. Of packages
// experiment/subject and goproc hardly any could.
var packages = []struct {
	name, run string
	within    time.Duration
}{
	{name: "cgroup", within: 2 * time.Minute},
	{name: "memlimit", within: 5 * time.Minute},
	{name: "guard/sli", within: 3 * time.Minute},
	{name: "cmd/internal/chaos/fault", run: "Locate|Own|Eater|Hangs|HardLimit|ChangedByOthers|Reclaim|Quota|Freeze|Frozen|Holder|Watcher|OtherUser", within: 10 * time.Minute},
	{name: "cmd/internal/chaos/keeper", run: "Kill|Whole|Course|Aborts|Busy|Stopped", within: 10 * time.Minute},
	{name: "cmd/internal/chaos/sense", within: 3 * time.Minute},
	{name: "cmd/internal/oom", within: 3 * time.Minute},
}

// inScope is a group as systemd makes it for what a user starts.
const inScope = "user.slice/session.scope"

// Suites are all of them.
func Suites() []Suite {
	unit := Suite{Name: "tests", MemoryMiB: 3072, DiskMiB: 4096}
	for _, p := range packages {
		argv := []string{"-test.v", "-test.timeout", p.within.String()}
		if p.run != "" {
			argv = append(argv, "-test.run", p.run)
		}
		unit.Steps = append(unit.Steps, Step{Name: p.name, Package: p.name, argv: argv, within: p.within + 10*time.Second})
	}
	stress := func(name, group string, within time.Duration, args ...string) Step {
		return Step{
			Name: name, group: group, within: within,
			argv: append([]string{path.Join(programs, "stress"), args[0], "-heapwright", path.Join(programs, "heapwright"), "-programs", programs}, args[1:]...),
		}
	}
	needs := []string{"heapwright", "stress", "stresssubject", "nats"}
	const within = 40 * time.Minute
	all := []Suite{unit}
	for _, part := range []struct{ name, subject, group, kinds string }{
		{"quota", "service", inScope, "cpu.quota,freeze,connections"},
		{"crowd", "service", inScope, "pagecache,sibling,shared"},
		{"limit", "service", inScope, "reclaim,limit.hard"},
		{"inside", "service", inScope, "gc.forced,heap.retain,goroutines,heap.off"},
		{"nats-soft", "nats", "", "limit.soft,cpu.quota,freeze"},
		{"nats-crowd", "nats", "", "connections,pagecache,sibling,shared"},
		{"nats-limit", "nats", "", "reclaim,limit.hard"},
	} {
		all = append(all, Suite{Name: "faults-" + part.name, MemoryMiB: 1536, DiskMiB: 1024, needs: needs, Steps: []Step{
			stress("faults on the "+part.subject, part.group, within, "faults", "-only", part.subject, "-kinds", part.kinds, "-at-a-time", "4", "-v"),
		}})
	}
	return append(all,
		Suite{Name: "kill", MemoryMiB: 1536, DiskMiB: 1024, needs: needs, Steps: []Step{
			stress("kills", inScope, within, "kill", "-n", "10"),
		}},
	)
}

// Slice is little of it, for a test: what reads cgroups, and faults of each way to change
// one.
func Slice() Suite {
	step := func(pkg, run string) Step {
		return Step{Name: pkg, Package: pkg, argv: []string{"-test.v", "-test.timeout", "2m", "-test.run", run}, within: 2*time.Minute + 10*time.Second}
	}
	return Suite{Name: "slice", MemoryMiB: 1024, DiskMiB: 512, Steps: []Step{
		step("cgroup", "."),
		step("cmd/internal/chaos/fault", "^Test(HardLimit|ChangedByOthers|Reclaim|Quota|Freeze|EaterIsFirst)$"),
	}}
}
