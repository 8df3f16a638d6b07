package blackbox

import (
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/record"
)

// write writes evidence as a recording that ends in the kill: lines in the order of time.
func write(w io.Writer, e *postmortem.Evidence) error {
	out := record.NewWriter(w)
	if err := out.Process(e.Recording.Process); err != nil {
		return err
	}
	type line struct {
		at    time.Time
		write func() error
	}
	var lines []line
	rec := e.Recording
	for i := range rec.Samples {
		lines = append(lines, line{rec.Samples[i].Time, func() error { return out.Sample(&rec.Samples[i]) }})
	}
	for i := range rec.Cycles {
		lines = append(lines, line{rec.Cycles[i].End, func() error { return out.Cycle(&rec.Cycles[i]) }})
	}
	for i := range rec.Goroutines {
		lines = append(lines, line{rec.Goroutines[i].Time, func() error { return out.Goroutines(&rec.Goroutines[i]) }})
	}
	for i := range rec.Profiles {
		lines = append(lines, line{rec.Profiles[i].Time, func() error { return out.Profile(&rec.Profiles[i]) }})
	}
	events := slices.Concat(rec.Events, e.Events())
	for i := range events {
		lines = append(lines, line{events[i].Time, func() error { return out.Event(&events[i]) }})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for _, l := range lines {
		if err := l.write(); err != nil {
			return err
		}
	}
	return out.Close()
}

// A life is what is known of a watched process that is told apart from others by it.
type life struct {
	pid     int
	command string // the kernel's name of it
	path    string // of its group
	ended   bool
}

// matches reports whether a kill in the kernel's log is that of a process: by its number
// where the kernel's numbers are ours, and otherwise by its name and group, of a process
// that is gone. A number whose process has another name now is that of another.
func matches(k *oom.Kill, l *life, samePIDs bool) bool {
	sameName := l.command == "" || k.Name == "" || k.Name == l.command
	if samePIDs {
		return k.PID == l.pid && sameName
	}
	return l.ended && sameName && k.TaskGroup != "" && l.path != "" && within(k.TaskGroup, l.path)
}

// within reports whether a path of the host's is a group that a container calls by the
// end of it: "/" is any, since a container often sees its own group as the root.
func within(host, ours string) bool {
	ours = path.Clean(ours)
	return ours == "/" || host == ours || strings.HasSuffix(host, ours)
}

// blend makes of several accounts of one death the one with the most in it.
func blend(kill *oom.Kill, others []postmortem.Source, l *life, at time.Time) *postmortem.Kill {
	if kill != nil {
		k := kill.Kill
		k.PID = l.pid
		for _, s := range others {
			if !slices.Contains(k.Known, s) && s != postmortem.FromDisappeared {
				k.Known = append(k.Known, s)
			}
		}
		return &k
	}
	return &postmortem.Kill{Time: at, PID: l.pid, Name: l.command, UID: -1, TaskGroup: l.path, Known: others}
}

// verdictOnEnd says, of a process that ended without a word of the kernel, how it is
// known that it was killed for memory: none is no evidence, and it ended by itself.
func verdictOnEnd(counterRose, killedBySignal, groupGone bool, left time.Duration, share float64) []postmortem.Source {
	near := share >= 0.9 || left < time.Second
	var out []postmortem.Source
	if counterRose {
		out = append(out, postmortem.FromCounter)
	}
	if killedBySignal && (counterRose || near) {
		out = append(out, postmortem.FromExitStatus)
	}
	if len(out) == 0 && groupGone && share >= 0.95 {
		// Who ends so near the limit, with its group, was ended.
		out = append(out, postmortem.FromDisappeared)
	}
	return out
}
