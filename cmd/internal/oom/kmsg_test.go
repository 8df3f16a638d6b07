package oom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// feed gives a parser lines as records of the kernel, a millisecond apart.
func feed(p *Parser, lines string) (kills []Kill) {
	seq := uint64(100)
	for line := range strings.Lines(lines) {
		seq++
		r := Record{Priority: 4, Seq: seq, Time: time.Duration(seq) * time.Millisecond, Text: strings.TrimRight(line, "\n")}
		if k, ok := p.Add(r); ok {
			kills = append(kills, k)
		}
	}
	return kills
}

const linux49 = `java invoked oom-killer: gfp_mask=0x24000c0(GFP_KERNEL), nodemask=0, order=0, oom_score_adj=936
java cpuset=8b2 mems_allowed=0
CPU: 3 PID: 12399 Comm: java Not tainted 4.9.0-11-amd64 #1 Debian 4.9.189-3
Call Trace:
 [<ffffffff8132fb64>] ? dump_stack+0x5c/0x78
Task in /kubepods/burstable/pod7a/8b2 killed as a result of limit of /kubepods/burstable/pod7a
memory: usage 262144kB, limit 262144kB, failcnt 131
memory+swap: usage 262144kB, limit 9007199254740988kB, failcnt 0
kmem: usage 3284kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /kubepods/burstable/pod7a: cache:0KB rss:0KB rss_huge:0KB mapped_file:0KB dirty:0KB writeback:0KB inactive_anon:0KB active_anon:0KB inactive_file:0KB active_file:0KB unevictable:0KB
Memory cgroup stats for /kubepods/burstable/pod7a/f11: cache:0KB rss:44KB rss_huge:0KB mapped_file:0KB dirty:0KB writeback:0KB inactive_anon:0KB active_anon:44KB inactive_file:0KB active_file:0KB unevictable:0KB
Memory cgroup stats for /kubepods/burstable/pod7a/8b2: cache:124KB rss:258692KB rss_huge:0KB mapped_file:16KB dirty:0KB writeback:0KB inactive_anon:64KB active_anon:258752KB inactive_file:0KB active_file:0KB unevictable:0KB
[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name
[11983]     0 11983      253        1       4       2        0          -998 pause
[12345]  1000 12345   289345    65123     180       5        0           936 java
Memory cgroup out of memory: Kill process 12345 (java) score 1932 or sacrifice child
Killed process 12345 (java) total-vm:1157380kB, anon-rss:258412kB, file-rss:2080kB, shmem-rss:0kB
oom_reaper: reaped process 12345 (java), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB
`

const linux54 = `api invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=999
memory: usage 102400kB, limit 102400kB, failcnt 31
memory+swap: usage 102400kB, limit 9007199254740988kB, failcnt 0
kmem: usage 1012kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /docker/3f9b:
anon 103464960
file 270336
kernel_stack 73728
slab 262144
sock 4096
shmem 0
file_dirty 0
inactive_anon 0
unrelated message of a driver 12
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[   8521]    65  8521   180331    25610   380928        0           999 a b (c) [d]
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=3f9b,mems_allowed=0,oom_memcg=/docker/3f9b,task_memcg=/docker/3f9b,pid=1,task=x,task=a b (c) [d],pid=8521,uid=65
Memory cgroup out of memory: Killed process 8521 (a b (c) [d]) total-vm:721324kB, anon-rss:100216kB, file-rss:2224kB, shmem-rss:0kB, UID:65 pgtables:372kB oom_score_adj:999
oom_reaper: reaped process 8521 (a b (c) [d]), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB
`

const linux61Group = `worker invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
memory: usage 65536kB, limit 65536kB, failcnt 77
swap: usage 0kB, limit 0kB, failcnt 0
Memory cgroup stats for /job:
anon 66000000
kernel 1048576
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    210]     0   210     2000      400    40960        0             0 parent
[    211]     0   211    90000    16000   180224        0             0 worker
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/job,task_memcg=/job,task=worker,pid=211,uid=0
Memory cgroup out of memory: Killed process 211 (worker) total-vm:360000kB, anon-rss:60000kB, file-rss:4000kB, shmem-rss:0kB, UID:0 pgtables:176kB oom_score_adj:0
Tasks in /job are going to be killed due to memory.oom.group set
Memory cgroup out of memory: Killed process 210 (parent) total-vm:8000kB, anon-rss:400kB, file-rss:1200kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0
Memory cgroup out of memory: Killed process 211 (worker) total-vm:360000kB, anon-rss:60000kB, file-rss:4000kB, shmem-rss:0kB, UID:0 pgtables:176kB oom_score_adj:0
`

const global = `systemd invoked oom-killer: gfp_mask=0x1100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
Mem-Info:
active_anon:1 inactive_anon:2
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[   1077]   112  1077   900000   700000  6000000     1000             0 mysqld
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/mysql.service,task=mysqld,pid=1077,uid=112
Out of memory: Killed process 1077 (mysqld) total-vm:3600000kB, anon-rss:2790000kB, file-rss:0kB, shmem-rss:0kB, UID:112 pgtables:5860kB oom_score_adj:0
`

func TestParser(t *testing.T) {
	const kib, page = 1 << 10, 4096
	t.Run("4.9", func(t *testing.T) {
		kills := feed(NewParser(page), linux49)
		if len(kills) != 1 {
			t.Fatalf("kills: %+v", kills)
		}
		k := kills[0]
		k.Text = nil
		want := Kill{Seq: 117, Kernel: 117 * time.Millisecond, Kill: postmortem.Kill{
			PID: 12345, Name: "java", UID: -1, Known: []postmortem.Source{postmortem.FromKernelLog}, Constraint: "CONSTRAINT_MEMCG",
			OOMGroup: "/kubepods/burstable/pod7a", TaskGroup: "/kubepods/burstable/pod7a/8b2", InvokedBy: "java", GFP: "0x24000c0(GFP_KERNEL)",
			TotalVMBytes: 1157380 * kib, AnonRSSBytes: 258412 * kib, FileRSSBytes: 2080 * kib,
			UsageBytes: 262144 * kib, LimitBytes: 262144 * kib, FailCount: 131,
			Parts: map[postmortem.Part]uint64{postmortem.PartKernel: 3284 * kib, postmortem.PartFile: 124 * kib, postmortem.PartAnon: 258736 * kib, postmortem.PartDirty: 0},
			Tasks: []postmortem.Task{
				{PID: 11983, Name: "pause", RSSBytes: page, PageTableBytes: 4 * page, TotalVMBytes: 253 * page, OOMScoreAdj: -998},
				{PID: 12345, Name: "java", RSSBytes: 65123 * page, PageTableBytes: 180 * page, TotalVMBytes: 289345 * page, OOMScoreAdj: 936},
			},
		}}
		if !reflect.DeepEqual(k, want) {
			t.Errorf("got  %+v\nwant %+v", k, want)
		}
	})
	t.Run("5.4, names that hold anything", func(t *testing.T) {
		kills := feed(NewParser(page), linux54)
		if len(kills) != 1 {
			t.Fatalf("kills: %+v", kills)
		}
		k := kills[0]
		if k.PID != 8521 || k.Name != "a b (c) [d]" || k.UID != 65 || k.TaskGroup != "/docker/3f9b,pid=1,task=x" || k.OOMGroup != "/docker/3f9b" || k.OOMScoreAdj != 999 || k.PageTableBytes != 372*kib || k.Bare {
			t.Errorf("kill %+v", k)
		}
		if p := k.Parts; p[postmortem.PartAnon] != 103464960 || p[postmortem.PartSlab] != 262144 || p[postmortem.PartSock] != 4096 || p[postmortem.PartKernel] != 1012*kib {
			t.Errorf("parts %v", p)
		}
		if len(k.Tasks) != 1 || k.Tasks[0].Name != "a b (c) [d]" || k.Tasks[0].RSSBytes != 25610*page {
			t.Errorf("tasks %+v", k.Tasks)
		}
	})
	t.Run("6.18", func(t *testing.T) {
		b, err := os.ReadFile("testdata/linux-6.18.txt")
		if err != nil {
			t.Fatal(err)
		}
		p := NewParser(page)
		var kills []Kill
		for line := range bytes.Lines(b) {
			r, ok := ParseRecord(line)
			if !ok {
				t.Fatalf("not a record: %q", line)
			}
			if k, ok := p.Add(r); ok {
				kills = append(kills, k)
			}
		}
		if len(kills) != 1 {
			t.Fatalf("kills: %+v", kills)
		}
		k := kills[0]
		if k.PID != 7662 || k.Name != "program" || k.UID != 0 || k.AnonRSSBytes != 162688*kib || k.LimitBytes != 163840*kib || k.TaskGroup != "/system.slice/api.service" || k.Seq != 59848 {
			t.Errorf("kill %+v", k)
		}
		if k.Parts[postmortem.PartAnon] == 0 || len(k.Tasks) != 1 || k.Tasks[0].AnonBytes != 40672*page || k.Tasks[0].FileBytes != 3457*page || len(k.Text) > 10 {
			t.Errorf("parts %v, tasks %+v, text %q", k.Parts, k.Tasks, k.Text)
		}
	})
	t.Run("a whole group", func(t *testing.T) {
		kills := feed(NewParser(page), linux61Group)
		if len(kills) != 2 || kills[0].PID != 211 || kills[0].Member || kills[1].PID != 210 || !kills[1].Member || kills[1].TaskGroup != "/job" || len(kills[1].Tasks) != 2 {
			t.Errorf("kills: %+v", kills)
		}
	})
	t.Run("the machine", func(t *testing.T) {
		kills := feed(NewParser(page), global)
		if len(kills) != 1 || kills[0].Constraint != "CONSTRAINT_NONE" || kills[0].TaskGroup != "/system.slice/mysql.service" || kills[0].OOMGroup != "" || kills[0].Tasks[0].SwapBytes != 1000*page {
			t.Errorf("kills: %+v", kills)
		}
	})
	t.Run("two, and a report that was suppressed", func(t *testing.T) {
		bare := "Memory cgroup out of memory: Killed process 9000 (api) total-vm:1kB, anon-rss:2kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0\n"
		kills := feed(NewParser(page), linux54+bare)
		if len(kills) != 2 || !kills[1].Bare || kills[1].LimitBytes != 0 || kills[1].PID != 9000 || kills[1].Constraint != "CONSTRAINT_MEMCG" {
			t.Errorf("kills: %+v", kills)
		}
	})
	t.Run("only the reaper is left", func(t *testing.T) {
		kills := feed(NewParser(page), "oom_reaper: reaped process 77 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB\n")
		if len(kills) != 1 || kills[0].PID != 77 || !kills[0].Bare {
			t.Errorf("kills: %+v", kills)
		}
	})
	t.Run("some before 5.1", func(t *testing.T) {
		kills := feed(NewParser(page), "Killed process 5 (sh), UID 33, total-vm:10kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB\n")
		if len(kills) != 1 || kills[0].UID != 33 || kills[0].AnonRSSBytes != 4*kib {
			t.Errorf("kills: %+v", kills)
		}
	})
	t.Run("who only writes so", func(t *testing.T) {
		p := NewParser(page)
		forged := Record{Priority: 1<<3 | 3, Seq: 1, Text: "Memory cgroup out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB"}
		if k, ok := p.Add(forged); ok {
			t.Errorf("a program's own line in the log: %+v", k)
		}
		if kills := feed(p, "systemd: service Killed process 7 (x) total-vm:1kB\n"); len(kills) != 0 {
			t.Errorf("another text: %+v", kills)
		}
	})
}

func TestParseRecord(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Record
		ok   bool
	}{
		{"6,339,5140900,-;NET: Registered protocol family 10\n", Record{6, 339, 5140900 * time.Microsecond, "NET: Registered protocol family 10"}, true},
		{"30,340,5690716,-,caller=T1;udevd[80]: starting version 181\n SUBSYSTEM=acpi\n", Record{30, 340, 5690716 * time.Microsecond, "udevd[80]: starting version 181"}, true},
		{`4,1,2,-;a\x0ab\x5cc\x`, Record{4, 1, 2 * time.Microsecond, "a\nb\\c\\x"}, true},
		{"4,1,2;x", Record{}, false},
		{"no record", Record{}, false},
		{"-1,1,2,-;x", Record{}, false},
		{"4,99999999999999999999999,2,-;x", Record{}, false},
		{"", Record{}, false},
	} {
		if r, ok := ParseRecord([]byte(tt.in)); ok != tt.ok || r != tt.want {
			t.Errorf("%q: %+v, %v", tt.in, r, ok)
		}
	}
}

// A script is a source that gives records, errors, and waits.
type script struct {
	steps []any // string, error, or time.Duration of waiting before the next
	clock *time.Time
}

func (s *script) read(ctx context.Context, buf []byte, drained func() bool) (int, error) {
	for len(s.steps) > 0 {
		step := s.steps[0]
		s.steps = s.steps[1:]
		switch v := step.(type) {
		case string:
			return copy(buf, v), nil
		case error:
			return 0, v
		case time.Duration:
			*s.clock = s.clock.Add(v)
			if drained() {
				return 0, io.EOF
			}
		}
	}
	return 0, errors.New("the device is gone")
}

func (s *script) Close() error { return nil }

func TestLog(t *testing.T) {
	kill := func(seq, usec, pid int) string {
		return fmt.Sprintf("3,%d,%d,-;Out of memory: Killed process %d (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB", seq, usec, pid)
	}
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	src := &script{clock: &clock, steps: []any{
		kill(1, 1_000_000, 10), // 99 s ago
		kill(2, 95_000_000, 11),
		errOverwritten, errOverwritten,
		kill(50, 96_000_000, 12),
		time.Second,
		"6,51,96500000,-;something else", // the kernel's clock is 4.5 s behind
		time.Second,
		kill(52, 97_500_000, 13),
	}}
	l := newLog(src, "the log", 10*time.Second, 4096, 100*time.Second, func() time.Time { return clock })
	var got []string
	for {
		k, err := l.Next(t.Context())
		if err != nil {
			var e *LogError
			if !errors.As(err, &e) || e.Hint() == "" {
				t.Errorf("error %v", err)
			}
			break
		}
		got = append(got, fmt.Sprintf("%d %v", k.PID, k.Time.Sub(clock)))
	}
	if want := "[11 -5s 12 -4s 13 0s]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if l.Lost() != 47 {
		t.Errorf("%d records lost", l.Lost())
	}
}

// A log that is to end does so where it would wait, and not before.
func TestLogEnd(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	line := "3,1,1000000,-;Out of memory: Killed process 10 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB"
	l := newLog(&script{clock: &clock, steps: []any{"6,0,1,-;else", errOverwritten, line, time.Second, line}}, "the log", time.Hour, 4096, time.Minute, func() time.Time { return clock })
	l.end = true
	if k, err := l.Next(t.Context()); err != nil || k.PID != 10 {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := l.Next(t.Context()); err != io.EOF {
		t.Errorf("%+v, %v, want the end", k, err)
	}
}

// FuzzKmsg feeds records of anything.
func FuzzKmsg(f *testing.F) {
	for _, s := range []string{linux49, linux54, linux61Group, global} {
		var b strings.Builder
		for line := range strings.Lines(s) {
			b.WriteString("4,1,1,-;" + line)
		}
		f.Add([]byte(b.String()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := NewParser(1 << 16)
		for line := range bytes.Lines(data) {
			r, ok := ParseRecord(line)
			if !ok {
				continue
			}
			k, ok := p.Add(r)
			if !ok {
				continue
			}
			if k.PID <= 0 || k.PID > maxPID || len(k.Name) > len(line) || len(k.Tasks) > maxTasks || len(k.Text) > maxLines+1 {
				t.Fatalf("kill %+v", k)
			}
		}
	})
}
