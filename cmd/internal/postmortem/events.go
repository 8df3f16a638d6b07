package postmortem

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
)

// The kinds of the events that carry evidence in a recording. Their Data has a key for
// each thing that is known; what is missing is unknown, what is not known here is let
// be.
const (
	EventKill                     = record.EventOOMKill
	EventTask    record.EventKind = "oom_task"    // a row of the kernel's table
	EventKernel  record.EventKind = "oom_kernel"  // Text is a line of the kernel's log
	EventGroup   record.EventKind = "oom_group"   // a look at the cgroup
	EventSibling record.EventKind = "oom_sibling" // another process in it; belongs to the look before
	EventCapture record.EventKind = "oom_capture" // profiles were taken
	EventNotice  record.EventKind = "oom_near"    // something warned
)

// Bounds of what is read from a file. What is more is left out.
const (
	maxTasks    = 512
	maxLines    = 400
	maxGroups   = 4096
	maxSiblings = 128 // of a look
	maxCaptures = 512
	maxNotices  = 512
	maxText     = 512       // bytes of a name or of a line
	maxBytes    = 1 << 50   // a pebibyte: more is not a measurement
	maxPID      = 1 << 22   // PID_MAX_LIMIT of Linux
	maxTook     = time.Hour // of a capture
)

var carries = map[record.EventKind]bool{
	EventTask: true, EventKernel: true, EventGroup: true, EventSibling: true, EventCapture: true, EventNotice: true,
}

// Events are what of the evidence is not in the recording's own types, in order of
// time. Read makes the evidence of them again.
func (e *Evidence) Events() []record.Event {
	var out []record.Event
	add := func(t time.Time, kind record.EventKind, text string, d data) {
		out = append(out, record.Event{Time: t, Kind: kind, Text: bounded(text), Data: d})
	}
	for i := range e.Groups {
		g := &e.Groups[i]
		d := data{}
		d.text("path", g.Path)
		d.text("limit_path", g.LimitPath)
		d.number("version", uint64(max(g.Version, 0)))
		d.number("usage_bytes", g.UsageBytes)
		d.number("limit_bytes", g.LimitBytes)
		d.number("peak_bytes", g.PeakBytes)
		d.number("oom_kills", g.OOMKills)
		d.number("siblings_left_out", uint64(max(g.SiblingsLeftOut, 0)))
		d.parts(g.Parts)
		add(g.Time, EventGroup, "", d)
		for _, s := range g.Siblings[:min(len(g.Siblings), maxSiblings)] {
			d := data{}
			d.number("pid", uint64(max(s.PID, 0)))
			d.text("name", s.Name)
			d.number("rss_bytes", s.RSSBytes)
			d.number("anon_bytes", s.AnonBytes)
			add(g.Time, EventSibling, "", d)
		}
	}
	for _, c := range e.Captures {
		d := data{}
		d.text("why", c.Why)
		d.number("took_ns", uint64(max(c.Took, 0)))
		d.text("kinds", strings.Join(c.Kinds, ","))
		d.text("failed", c.Failed)
		d.number("usage_bytes", c.Bytes)
		add(c.Time, EventCapture, "", d)
	}
	for _, n := range e.Notices {
		d := data{}
		d.text("kind", n.Kind)
		add(n.Time, EventNotice, n.Text, d)
	}
	if k := e.Kill; k != nil {
		for _, line := range k.Text[:min(len(k.Text), maxLines)] {
			add(k.Time, EventKernel, line, nil)
		}
		for _, t := range k.Tasks[:min(len(k.Tasks), maxTasks)] {
			add(k.Time, EventTask, "", t.data())
		}
		add(k.Time, EventKill, k.text(), k.data())
	}
	slices.SortStableFunc(out, func(a, b record.Event) int { return a.Time.Compare(b.Time) })
	return out
}

// text is the kill as one line of a recording.
func (k *Kill) text() string {
	name := cmp.Or(k.Name, "the process")
	if k.OOMGroup != "" {
		return name + " was killed for want of memory in " + k.OOMGroup
	}
	return name + " was killed for want of memory"
}

func (k *Kill) data() data {
	d := data{}
	d.number("pid", uint64(max(k.PID, 0)))
	d.text("name", k.Name)
	if k.UID >= 0 {
		d["uid"] = strconv.Itoa(k.UID)
	}
	sources := make([]string, len(k.Known))
	for i, s := range k.Known {
		sources[i] = string(s)
	}
	d.text("known", strings.Join(sources, ","))
	if k.Member {
		d["member"] = "true"
	}
	d.text("constraint", k.Constraint)
	d.text("oom_group", k.OOMGroup)
	d.text("task_group", k.TaskGroup)
	d.text("invoked_by", k.InvokedBy)
	d.text("gfp", k.GFP)
	d.number("order", uint64(max(k.Order, 0)))
	d.number("total_vm_bytes", k.TotalVMBytes)
	d.number("anon_rss_bytes", k.AnonRSSBytes)
	d.number("file_rss_bytes", k.FileRSSBytes)
	d.number("shmem_rss_bytes", k.ShmemRSSBytes)
	d.number("page_table_bytes", k.PageTableBytes)
	d.signed("oom_score_adj", k.OOMScoreAdj)
	d.number("usage_bytes", k.UsageBytes)
	d.number("limit_bytes", k.LimitBytes)
	d.number("fail_count", k.FailCount)
	d.parts(k.Parts)
	return d
}

func (t *Task) data() data {
	d := data{}
	d.number("pid", uint64(max(t.PID, 0)))
	d.text("name", t.Name)
	d.number("rss_bytes", t.RSSBytes)
	d.number("anon_bytes", t.AnonBytes)
	d.number("file_bytes", t.FileBytes)
	d.number("shmem_bytes", t.ShmemBytes)
	d.number("page_table_bytes", t.PageTableBytes)
	d.number("swap_bytes", t.SwapBytes)
	d.number("total_vm_bytes", t.TotalVMBytes)
	d.signed("oom_score_adj", t.OOMScoreAdj)
	return d
}

// Write writes the evidence as a recording.
func Write(w io.Writer, e *Evidence) error {
	rec := e.Recording
	out := record.NewWriter(w)
	err := out.Process(rec.Process)
	for i := range rec.Samples {
		err = errors.Join(err, out.Sample(&rec.Samples[i]))
	}
	for i := range rec.Cycles {
		err = errors.Join(err, out.Cycle(&rec.Cycles[i]))
	}
	for i := range rec.Profiles {
		err = errors.Join(err, out.Profile(&rec.Profiles[i]))
	}
	for i := range rec.Goroutines {
		err = errors.Join(err, out.Goroutines(&rec.Goroutines[i]))
	}
	for i := range rec.Events {
		if ev := &rec.Events[i]; !carries[ev.Kind] && ev.Kind != EventKill {
			err = errors.Join(err, out.Event(ev))
		}
	}
	for _, ev := range e.Events() {
		err = errors.Join(err, out.Event(&ev))
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("writing a post-mortem: %w", err)
	}
	return nil
}

// A NotPostmortemError says that a recording holds nothing of a kill.
type NotPostmortemError struct{ Reason string }

func (e *NotPostmortemError) Error() string { return "this recording is no post-mortem: " + e.Reason }

// Hint says what to do with such a recording.
func (e *NotPostmortemError) Hint() string {
	return `"heapwright diagnose FILE" says what is wrong in a recording of a process that lives`
}

// Read takes the evidence out of a recording. The error is a *NotPostmortemError when
// there is neither a kill nor a look at a cgroup in it. What a hostile file says is cut
// to its bounds; events of other kinds stay in the recording and are let be.
func Read(rec *record.Recording) (*Evidence, error) {
	if rec == nil {
		return nil, errors.New("reading a post-mortem: there is no recording")
	}
	e := &Evidence{Recording: rec}
	found := false
	var text []string
	var tasks []Task
	for i := range rec.Events {
		ev := &rec.Events[i]
		d := data(ev.Data)
		found = found || carries[ev.Kind]
		switch ev.Kind {
		case EventGroup:
			if len(e.Groups) < maxGroups {
				e.Groups = append(e.Groups, d.group(ev.Time))
			} else { // the newest counts most
				e.Groups[maxGroups-1] = d.group(ev.Time)
			}
		case EventSibling:
			if n := len(e.Groups); n > 0 && len(e.Groups[n-1].Siblings) < maxSiblings {
				g := &e.Groups[n-1]
				g.Siblings = append(g.Siblings, Sibling{PID: d.pid(), Name: d.get("name"), RSSBytes: d.bytes("rss_bytes"), AnonBytes: d.bytes("anon_bytes")})
			}
		case EventCapture:
			if len(e.Captures) < maxCaptures {
				e.Captures = append(e.Captures, d.capture(ev.Time))
			}
		case EventNotice:
			if len(e.Notices) < maxNotices {
				e.Notices = append(e.Notices, Notice{Time: ev.Time, Kind: d.get("kind"), Text: bounded(ev.Text)})
			}
		case EventKernel:
			if len(text) < maxLines {
				text = append(text, bounded(ev.Text))
			}
		case EventTask:
			if len(tasks) < maxTasks {
				tasks = append(tasks, d.task())
			}
		case EventKill:
			// `record` writes this kind too, when the group's counter rises: it names
			// no process. The one that says most is taken, then the newest.
			k := d.kill(ev.Time)
			if e.Kill == nil || len(k.Known) >= len(e.Kill.Known) {
				e.Kill = k
			}
		}
	}
	if e.Kill != nil {
		e.Kill.Text, e.Kill.Tasks = text, tasks
		if len(e.Kill.Known) == 0 {
			e.Kill.Known = []Source{FromCounter}
		}
	}
	if e.Kill == nil && !found {
		return nil, &NotPostmortemError{"it has neither a kill nor a look at a cgroup in it"}
	}
	return e, nil
}

// data is an event's Data: numbers are decimal, and sizes are bytes.
type data map[string]string

func (d data) text(key, v string) {
	if v != "" {
		d[key] = bounded(v)
	}
}

func (d data) number(key string, v uint64) {
	if v != 0 {
		d[key] = strconv.FormatUint(v, 10)
	}
}

func (d data) signed(key string, v int) {
	if v != 0 {
		d[key] = strconv.Itoa(v)
	}
}

// partPrefix is before the name of a part, since a part may be called as something else
// is. A part of 0 bytes is written: it is known to be nothing.
const partPrefix = "part_"

func (d data) parts(p map[Part]uint64) {
	for _, part := range slices.Sorted(maps.Keys(p)) {
		d[partPrefix+string(part)] = strconv.FormatUint(p[part], 10)
	}
}

func (d data) get(key string) string { return bounded(d[key]) }

func (d data) bytes(key string) uint64 {
	v, err := strconv.ParseUint(d[key], 10, 64)
	if err != nil || v > maxBytes {
		return 0
	}
	return v
}

func (d data) int(key string) int {
	v, err := strconv.ParseInt(d[key], 10, 32)
	if err != nil {
		return 0
	}
	return int(v)
}

func (d data) pid() int {
	if v := d.int("pid"); v > 0 && v <= maxPID {
		return v
	}
	return 0
}

var parts = []Part{PartAnon, PartFile, PartShmem, PartKernel, PartSlab, PartPageTables, PartStacks, PartSock, PartSwap, PartDirty}

func (d data) readParts() map[Part]uint64 {
	var out map[Part]uint64
	for _, p := range parts {
		if _, ok := d[partPrefix+string(p)]; ok {
			if out == nil {
				out = make(map[Part]uint64)
			}
			out[p] = d.bytes(partPrefix + string(p))
		}
	}
	return out
}

func (d data) group(t time.Time) Group {
	return Group{
		Time: t, Path: d.get("path"), LimitPath: d.get("limit_path"), Version: max(0, min(d.int("version"), 2)),
		UsageBytes: d.bytes("usage_bytes"), LimitBytes: d.bytes("limit_bytes"), PeakBytes: d.bytes("peak_bytes"),
		OOMKills: d.bytes("oom_kills"), Parts: d.readParts(), SiblingsLeftOut: max(0, d.int("siblings_left_out")),
	}
}

func (d data) capture(t time.Time) Capture {
	c := Capture{Time: t, Why: d.get("why"), Failed: d.get("failed"), Bytes: d.bytes("usage_bytes")}
	c.Took = time.Duration(min(d.bytes("took_ns"), uint64(maxTook)))
	if kinds := d.get("kinds"); kinds != "" {
		c.Kinds = strings.Split(kinds, ",")
	}
	return c
}

func (d data) task() Task {
	return Task{
		PID: d.pid(), Name: d.get("name"), RSSBytes: d.bytes("rss_bytes"), AnonBytes: d.bytes("anon_bytes"),
		FileBytes: d.bytes("file_bytes"), ShmemBytes: d.bytes("shmem_bytes"), PageTableBytes: d.bytes("page_table_bytes"),
		SwapBytes: d.bytes("swap_bytes"), TotalVMBytes: d.bytes("total_vm_bytes"), OOMScoreAdj: d.int("oom_score_adj"),
	}
}

func (d data) kill(t time.Time) *Kill {
	k := &Kill{
		Time: t, PID: d.pid(), Name: d.get("name"), UID: -1, Member: d["member"] == "true",
		Constraint: d.get("constraint"), OOMGroup: d.get("oom_group"), TaskGroup: d.get("task_group"),
		InvokedBy: d.get("invoked_by"), GFP: d.get("gfp"), Order: max(0, min(d.int("order"), 64)),
		TotalVMBytes: d.bytes("total_vm_bytes"), AnonRSSBytes: d.bytes("anon_rss_bytes"), FileRSSBytes: d.bytes("file_rss_bytes"),
		ShmemRSSBytes: d.bytes("shmem_rss_bytes"), PageTableBytes: d.bytes("page_table_bytes"), OOMScoreAdj: d.int("oom_score_adj"),
		UsageBytes: d.bytes("usage_bytes"), LimitBytes: d.bytes("limit_bytes"), FailCount: min(d.bytes("fail_count"), math.MaxInt64),
		Parts: d.readParts(),
	}
	if uid, err := strconv.Atoi(d["uid"]); err == nil && uid >= 0 {
		k.UID = uid
	}
	for name := range strings.SplitSeq(d.get("known"), ",") {
		if s := Source(name); slices.Contains(sources, s) && !slices.Contains(k.Known, s) {
			k.Known = append(k.Known, s)
		}
	}
	slices.SortFunc(k.Known, func(a, b Source) int {
		return cmp.Compare(slices.Index(sources, a), slices.Index(sources, b))
	})
	return k
}

var sources = []Source{FromKernelLog, FromContainer, FromCounter, FromGroupEvent, FromExitStatus, FromDisappeared}

// bounded cuts text to what is kept, at the end of a character.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}
