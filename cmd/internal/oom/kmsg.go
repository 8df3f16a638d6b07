package oom

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// A Record is one record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).
type Record struct {
	Priority int           // facility and level of syslog: 8 * facility + level
	Seq      uint64        // rises by one from record to record
	Time     time.Duration // since boot, by the kernel's own clock
	Text     string        // without the lines that say which device it is about
}

// ParseRecord reads one record: "prio,seq,usec,flags[,...];text", then lines that
// begin with a space and belong to it.
func ParseRecord(b []byte) (Record, bool) {
	head, text, ok := bytes.Cut(b, []byte{';'})
	if !ok || len(head) > 256 {
		return Record{}, false
	}
	f := strings.SplitN(string(head), ",", 5)
	if len(f) < 4 { // Linux 3.5 and later have the flags
		return Record{}, false
	}
	prio, err1 := strconv.ParseUint(f[0], 10, 31)
	seq, err2 := strconv.ParseUint(f[1], 10, 64)
	usec, err3 := strconv.ParseUint(f[2], 10, 53)
	if err1 != nil || err2 != nil || err3 != nil {
		return Record{}, false
	}
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	return Record{Priority: int(prio), Seq: seq, Time: time.Duration(usec) * time.Microsecond, Text: unescape(text)}, true
}

// kernel reports whether the kernel wrote the record: what programs write to
// /dev/kmsg has a facility, since the kernel refuses theirs to be 0.
func (r *Record) kernel() bool { return r.Priority>>3 == 0 }

// unescape undoes the kernel's \xNN for what is not printable.
func unescape(b []byte) string {
	if !bytes.Contains(b, []byte(`\x`)) {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		if len(b) >= 4 && b[0] == '\\' && b[1] == 'x' {
			if v, err := strconv.ParseUint(string(b[2:4]), 16, 8); err == nil {
				out = append(out, byte(v))
				b = b[4:]
				continue
			}
		}
		out = append(out, b[0])
		b = b[1:]
	}
	return string(out)
}

// A Parser makes kills of the records of the kernel's log, given one after the other.
// It knows the texts of Linux 4.4 to 6.18 and is for one goroutine.
//
// The kernel holds a lock while it reports, so that reports do not mix with each
// other, though other records may come between their lines.
type Parser struct {
	pageSize uint64
	report   *report
	said     []int // PIDs killed lately, newest last
}

// NewParser makes a parser for a machine with pages of this many bytes: the kernel's
// table of tasks counts in pages.
func NewParser(pageSize int) *Parser { return &Parser{pageSize: uint64(min(max(pageSize, 1), 1<<16))} }

// A report is what was said since an allocation "invoked oom-killer".
type report struct {
	kill    postmortem.Kill
	began   time.Duration
	section section
	columns []string // of the table of tasks
	victim  int      // who was chosen, 0 when that was not said
	killed  []int
	group   bool // the kernel kills all of a group
	old     bool // a kernel that may take a child in place of who was chosen
}

type section int

const (
	otherLines section = iota
	statLines          // memory.stat of the group
	taskLines          // the table
)

// maxReport is how long one report may take: consoles can be slow.
const maxReport = 2 * time.Minute

// maxSaid is how many killed processes are remembered.
const maxSaid = 64

// Add takes the next record. It returns a kill when the record tells of one.
func (p *Parser) Add(r Record) (Kill, bool) {
	if !r.kernel() {
		return Kill{}, false
	}
	text := strings.TrimSpace(r.Text)
	if rep := p.report; rep != nil && (r.Time < rep.began || r.Time-rep.began > maxReport) {
		p.report = nil
	}
	if name, rest, ok := strings.Cut(text, " invoked oom-killer: "); ok {
		p.report = &report{began: r.Time, kill: postmortem.Kill{InvokedBy: name}}
		p.report.invoked(rest)
		p.report.keep(text)
		return Kill{}, false
	}
	if k, ok := p.killed(&r, text); ok {
		return k, true
	}
	if rep := p.report; rep != nil {
		if rep.line(text, p.pageSize) {
			rep.keep(text)
		}
	}
	return Kill{}, false
}

// Lost forgets a report of which records may be missing.
func (p *Parser) Lost() { p.report = nil }

// killed recognises the record that says of one process that it was killed:
//
//	Memory cgroup out of memory: Killed process 7670 (program) total-vm:1781484kB, anon-rss:162928kB, ...
//	Out of memory: Killed process 1 (a) total-vm:...
//	Killed process 1 (a) total-vm:1kB, ...                    (before Linux 5.1)
//	Killed process 1 (a), UID 0, total-vm:1kB, ...            (before Linux 5.1, some)
//	oom_reaper: reaped process 1 (a), now anon-rss:0kB, ...   (after it)
func (p *Parser) killed(r *Record, text string) (Kill, bool) {
	k := Kill{Seq: r.Seq, Kernel: r.Time}
	if rest, ok := strings.CutPrefix(text, "oom_reaper: reaped process "); ok {
		// Says nothing new, unless the record of the kill was lost.
		pid, name, _, ok := process(rest, "), now anon-rss:")
		if !ok || slices.Contains(p.said, pid) {
			return Kill{}, false
		}
		k.Kill = postmortem.Kill{PID: pid, Name: name, UID: -1, Known: []postmortem.Source{postmortem.FromKernelLog}, Text: []string{cut(text)}}
		k.Bare = true
		p.remember(pid)
		return k, true
	}
	before, rest, ok := strings.Cut(text, "Killed process ")
	if !ok || before != "" && !strings.HasSuffix(before, ": ") {
		return Kill{}, false
	}
	pid, name, values, ok := process(rest, ") total-vm:")
	uid := -1
	if !ok {
		// "(a), UID 0, total-vm:"
		if pid, name, values, ok = process(rest, "), UID "); !ok {
			return Kill{}, false
		}
		id, after, cut := strings.Cut(values, ", total-vm:")
		if !cut {
			return Kill{}, false
		}
		if n, err := strconv.Atoi(id); err == nil && n >= 0 {
			uid = n
		}
		values = after
	}
	rep := p.report
	if rep != nil && slices.Contains(rep.killed, pid) {
		return Kill{}, false // a whole group is killed, and the first victim is in it
	}
	k.Kill = postmortem.Kill{}
	if rep != nil && rep.concerns(pid) {
		k.Kill = rep.kill
		k.Member = rep.group
		k.Tasks, k.Text = slices.Clone(rep.kill.Tasks), slices.Clone(rep.kill.Text)
		rep.killed = append(rep.killed, pid)
		if k.Member {
			k.TaskGroup = cmp.Or(rep.kill.TaskGroup, rep.kill.OOMGroup)
		}
	} else {
		k.Bare = true
	}
	k.PID, k.Name, k.UID = pid, name, uid
	k.Known = []postmortem.Source{postmortem.FromKernelLog}
	k.Text = append(k.Text, cut(text))
	if k.Constraint == "" && strings.HasPrefix(before, "Memory cgroup") {
		k.Constraint = "CONSTRAINT_MEMCG"
	}
	k.memory("total-vm:" + values)
	p.remember(pid)
	return k, true
}

// concerns reports whether a kill belongs to the report: that of the process which was
// chosen, of a child in its place (before Linux 5.2), or of a whole group after it.
func (rep *report) concerns(pid int) bool {
	if len(rep.killed) > 0 {
		return rep.group
	}
	return rep.victim == 0 || rep.victim == pid || rep.old
}

func (p *Parser) remember(pid int) {
	p.said = append(p.said, pid)
	if len(p.said) > maxSaid {
		p.said = slices.Delete(p.said, 0, 1)
	}
}

// process reads "123 (name" up to the last of what comes after a name, which may hold
// anything.
func process(s, after string) (pid int, name, rest string, ok bool) {
	number, s, ok := strings.Cut(s, " (")
	if !ok {
		return 0, "", "", false
	}
	pid, err := strconv.Atoi(number)
	i := strings.LastIndex(s, after)
	if err != nil || pid <= 0 || pid > maxPID || i < 0 || i > maxLine {
		return 0, "", "", false
	}
	return pid, s[:i], s[i+len(after):], true
}

const maxPID = 1 << 22 // PID_MAX_LIMIT

// memory reads "total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:1kB, UID:0 pgtables:1kB oom_score_adj:0".
func (k *Kill) memory(s string) {
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		key, value, ok := strings.Cut(word, ":")
		if !ok {
			continue
		}
		switch key {
		case "total-vm":
			k.TotalVMBytes = kilobytes(value)
		case "anon-rss":
			k.AnonRSSBytes = kilobytes(value)
		case "file-rss":
			k.FileRSSBytes = kilobytes(value)
		case "shmem-rss":
			k.ShmemRSSBytes = kilobytes(value)
		case "pgtables":
			k.PageTableBytes = kilobytes(value)
		case "UID":
			if n, err := strconv.ParseUint(value, 10, 32); err == nil {
				k.UID = int(n)
			}
		case "oom_score_adj":
			k.OOMScoreAdj = score(value)
		}
	}
}

// kilobytes reads "720kB", 0 when it is not that. Linux writes kB for KiB.
func kilobytes(s string) uint64 {
	s = strings.TrimSuffix(strings.TrimSuffix(s, "kB"), "KB")
	v, err := strconv.ParseUint(s, 10, 53)
	if err != nil {
		return 0
	}
	return v << 10
}

func score(s string) int {
	n, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxLine)], "\ufffd") }

func (rep *report) keep(text string) {
	if len(rep.kill.Text) < maxLines {
		rep.kill.Text = append(rep.kill.Text, cut(text))
	}
}

// invoked reads what follows "invoked oom-killer:": "gfp_mask=0xcc0(GFP_KERNEL),
// order=0, oom_score_adj=0", with a nodemask among it before Linux 5.0.
func (rep *report) invoked(s string) {
	for word := range strings.SplitSeq(s, ", ") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "gfp_mask":
			rep.kill.GFP = cut(value)
		case "order":
			if n, err := strconv.ParseUint(value, 10, 6); err == nil {
				rep.kill.Order = int(n)
			}
		}
	}
}

// line takes one line of a report, and says whether it is worth keeping as it is.
func (rep *report) line(text string, pageSize uint64) bool {
	k := &rep.kill
	switch {
	case strings.HasPrefix(text, "oom-kill:"):
		rep.section = otherLines
		rep.summary(text)
		return true
	case strings.HasPrefix(text, "Task in "): // before Linux 5.0
		task, group, ok := strings.Cut(strings.TrimPrefix(text, "Task in "), " killed as a result of limit of ")
		if ok {
			k.TaskGroup, k.OOMGroup = cut(task), cut(group)
		}
		return ok
	case strings.Contains(text, ": Kill process "): // before Linux 5.1
		_, rest, _ := strings.Cut(text, ": Kill process ")
		if pid, _, _, ok := process(rest, ") score "); ok {
			rep.victim, rep.old = pid, true
		}
		if strings.HasPrefix(text, "Memory cgroup") {
			k.Constraint = "CONSTRAINT_MEMCG"
		}
		return true
	case strings.HasPrefix(text, "Tasks in ") && strings.Contains(text, " are going to be killed due to memory.oom.group set"):
		rep.group = true
		return true
	case strings.HasPrefix(text, "memory: usage "):
		rep.usage(strings.TrimPrefix(text, "memory: "))
		return true
	case strings.HasPrefix(text, "memory+swap: usage "), strings.HasPrefix(text, "swap: usage "):
		return true
	case strings.HasPrefix(text, "kmem: usage "):
		v, _, _ := strings.Cut(strings.TrimPrefix(text, "kmem: usage "), ",")
		rep.part(postmortem.PartKernel, kilobytes(v))
		return true
	case strings.HasPrefix(text, "Memory cgroup stats for "):
		rep.section = statLines
		// Before Linux 5.2 all of it is in this line, after a colon that the path may have
		// too, and there is such a line for each group below, of itself alone.
		if i := strings.LastIndex(text, ": cache:"); i >= 0 {
			for word := range strings.FieldsSeq(text[i+1:]) {
				key, value, _ := strings.Cut(word, ":")
				if p, ok := stats[key]; ok {
					rep.part(p, rep.kill.Parts[p]+kilobytes(value))
				}
			}
		}
		return true
	case strings.HasPrefix(text, "Tasks state (memory values in pages)"):
		rep.section = taskLines
		return false
	case strings.HasPrefix(text, "[") && strings.Contains(text, "pid") && strings.Contains(text, "total_vm"):
		rep.section = taskLines
		rep.columns = strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(text))
		if len(rep.columns) > 16 {
			rep.columns = nil
		}
		return false
	case rep.section == statLines:
		key, value, ok := strings.Cut(text, " ")
		v, err := strconv.ParseUint(value, 10, 63)
		if !ok || err != nil {
			return false
		}
		rep.stat(key, v)
		return false
	case rep.section == taskLines && strings.HasPrefix(text, "["):
		rep.task(text, pageSize)
		return false
	}
	return false
}

// summary reads the line that Linux has since 5.0:
//
//	oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=x,pid=1,uid=0
//	oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/a,task=x,pid=1,uid=0
//
// Names of groups and of tasks may hold commas and more: it is taken apart from both ends.
func (rep *report) summary(text string) {
	k := &rep.kill
	rest, uid, ok := lastCut(text, ",uid=")
	if ok {
		if n, err := strconv.ParseUint(uid, 10, 32); err == nil {
			k.UID = int(n)
		}
	} else {
		rest = text
	}
	if r, pid, ok := lastCut(rest, ",pid="); ok {
		if n, err := strconv.Atoi(pid); err == nil && n > 0 && n <= maxPID {
			rep.victim = n
		}
		rest = r
	}
	if r, _, ok := lastCut(rest, ",task="); ok {
		rest = r
	}
	if r, group, ok := strings.Cut(rest, ",task_memcg="); ok {
		k.TaskGroup, rest = cut(group), r
	}
	if r, group, ok := strings.Cut(rest, ",oom_memcg="); ok {
		k.OOMGroup, rest = cut(group), r
	}
	constraint, _, _ := strings.Cut(strings.TrimPrefix(rest, "oom-kill:constraint="), ",")
	k.Constraint = cut(constraint)
}

func lastCut(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// usage reads "usage 163840kB, limit 163840kB, failcnt 309".
func (rep *report) usage(s string) {
	for word := range strings.SplitSeq(s, ", ") {
		key, value, _ := strings.Cut(word, " ")
		switch key {
		case "usage":
			rep.kill.UsageBytes = kilobytes(value)
		case "limit":
			if v := kilobytes(value); v < unlimited {
				rep.kill.LimitBytes = v
			}
		case "failcnt":
			if v, err := strconv.ParseUint(value, 10, 63); err == nil {
				rep.kill.FailCount = v
			}
		}
	}
}

// unlimited is the limit above which there is none: v1 writes a page less than 2^63.
const unlimited = 1 << 60

func (rep *report) part(p postmortem.Part, v uint64) {
	if rep.kill.Parts == nil {
		rep.kill.Parts = map[postmortem.Part]uint64{}
	}
	rep.kill.Parts[p] = v
}

// stats are the names in memory.stat, those of v1 with total_ before them being of the
// groups below too.
var stats = map[string]postmortem.Part{
	"anon": postmortem.PartAnon, "file": postmortem.PartFile, "shmem": postmortem.PartShmem,
	"kernel": postmortem.PartKernel, "slab": postmortem.PartSlab, "pagetables": postmortem.PartPageTables,
	"kernel_stack": postmortem.PartStacks, "sock": postmortem.PartSock, "file_dirty": postmortem.PartDirty,
	"swap": postmortem.PartSwap,

	"rss": postmortem.PartAnon, "cache": postmortem.PartFile, "dirty": postmortem.PartDirty,
	"total_rss": postmortem.PartAnon, "total_cache": postmortem.PartFile, "total_dirty": postmortem.PartDirty,
	"total_shmem": postmortem.PartShmem, "total_swap": postmortem.PartSwap,
}

// stat takes one number of memory.stat; total_ ones come after those without, and count.
func (rep *report) stat(key string, v uint64) {
	if p, ok := stats[key]; ok {
		rep.part(p, v)
	}
}

// task reads a row of the table: "[   7662]     0  7662   461773    44129 ... 1000 program".
func (rep *report) task(text string, pageSize uint64) {
	if len(rep.kill.Tasks) >= maxTasks || len(rep.columns) < 4 || rep.columns[len(rep.columns)-1] != "name" {
		return
	}
	text = strings.Replace(strings.Replace(text, "[", " ", 1), "]", " ", 1)
	var t postmortem.Task
	for _, column := range rep.columns[:len(rep.columns)-1] {
		text = strings.TrimLeft(text, " ")
		word, rest, ok := strings.Cut(text, " ")
		if !ok {
			return
		}
		text = rest
		if column == "oom_score_adj" {
			t.OOMScoreAdj = score(word)
			continue
		}
		v, err := strconv.ParseUint(word, 10, 44)
		if err != nil {
			return
		}
		switch column {
		case "tgid":
			if v == 0 || v > maxPID {
				return
			}
			t.PID = int(v)
		case "total_vm":
			t.TotalVMBytes = v * pageSize
		case "rss":
			t.RSSBytes = v * pageSize
		case "rss_anon":
			t.AnonBytes = v * pageSize
		case "rss_file":
			t.FileBytes = v * pageSize
		case "rss_shmem":
			t.ShmemBytes = v * pageSize
		case "pgtables_bytes":
			t.PageTableBytes = v
		case "nr_ptes": // before Linux 4.15: pages of tables
			t.PageTableBytes = v * pageSize
		case "swapents":
			t.SwapBytes = v * pageSize
		}
	}
	t.Name = cut(text)
	rep.kill.Tasks = append(rep.kill.Tasks, t)
}
