package gctrace

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("update", false, "write the golden files")

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Real output of several versions of Go: what is taken out of it, and the last
// cycle of each.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d traces, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var own, got bytes.Buffer
			p := NewParser(start)
			cycles, lines := 0, 0
			var last Cycle
			s := NewSplitter(&own, func(line []byte) {
				lines++
				var c Cycle
				if !p.Line(line, &c) {
					return
				}
				cycles++
				last = c
				// Lines are missing from the middle of the file.
				fmt.Fprintf(&got, "lost %d\n", c.Lost)
				cycle, _ := json.Marshal(c.Cycle)
				sample, _ := json.Marshal(&c.Sample)
				fmt.Fprintf(&got, "%s\n%s\n", cycle, sample)
			})
			for part := in; len(part) > 0; {
				n := min(7, len(part)) // as the runtime prints it, in pieces
				if _, err := s.Write(part[:n]); err != nil {
					t.Fatal(err)
				}
				part = part[n:]
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			const program = "the program's own first line\nprogress 0\nno newline at the end"
			if own.String() != program {
				t.Errorf("the program's own output is %q, want %q", own.String(), program)
			}
			if want := bytes.Count(in, []byte("\n")) - 2; lines != want {
				t.Errorf("%d lines of the trace, want %d", lines, want)
			}
			if want := bytes.Count(in, []byte("\ngc ")); cycles != want || cycles < 10 {
				t.Errorf("%d cycles, want %d", cycles, want)
			}
			if p.Mixed() {
				t.Error("taken for several processes")
			}
			// The program ends with debug.FreeOSMemory, a forced cycle.
			if !last.Forced || last.Procs != 2 || last.HeapGoalBytes != 4<<20 {
				t.Errorf("last cycle is %+v", last.Cycle)
			}

			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("cycles differ from %s; run with -update and look at the difference", golden)
			}
		})
	}
}

const (
	gc1    = "gc 1 @0.500s 7%: 0.25+10+0.75 ms clock, 1.0+2.0/3.0/4.0+5.0 ms cpu, 3->4->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 4 P\n"
	gc2    = "gc 2 @1.000s 7%: 0+1+0 ms clock, 0+0/0/0+0 ms cpu, 3->4->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 4 P (forced)\n"
	gc5    = "gc 5 @2.000s 7% (checking for goroutine leaks): 0+1+0 ms clock, 0+0/0/0+0 ms cpu, 3->4->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 4 P\n"
	pacer1 = "pacer: 25% CPU (25 exp.) for 100+200+300 B work (400 B exp.) in 3145733 B -> 4194309 B (∆goal -1048580, cons/mark NaN)\n"
	ratio  = "pacer: assist ratio=+Inf (scan 0 MB in 3->4 MB) workers=1++2.500000e-001\n"
	scav   = "scav 1 KiB work (bg), 2 KiB work (eager), 300 KiB now, 99% util [controller reset]\n"
	scav20 = "scav 1 KiB work, 400 KiB total, 99% util (forced)\n"
	sweep  = "pacer: sweep done at heap size 6MB; allocated 2MB during sweep; swept 882 pages at 1.2e-05 pages/byte\n"
	forced = "GC forced\n"
)

func TestParser(t *testing.T) {
	p := NewParser(start)
	var c Cycle
	line := func(l string) bool { return p.Line([]byte(l), &c) }
	for _, l := range []string{ratio, sweep, forced, scav, pacer1, "hello\n", "", gc1[:50]} {
		if line(l) {
			t.Errorf("%q ended a cycle", l)
		}
	}
	if !line(strings.TrimSuffix(gc1, "\n")) {
		t.Fatal("no cycle")
	}
	ms := time.Millisecond
	end := start.Add(511 * ms)
	want := Cycle{Cycle: record.Cycle{
		N: 1, End: end, Pause: ms, Detail: true, SweepTermination: ms / 4, Mark: 10 * ms, MarkTermination: ms * 3 / 4,
		HeapStartBytes: 3145733, HeapEndBytes: 4194309, HeapMarkedBytes: 2 << 20, HeapGoalBytes: 4194309 + 1048580,
		StackScanBytes: 200, GlobalsScanBytes: 300, Assist: 2 * ms, Dedicated: 3 * ms, Idle: 4 * ms, Procs: 4,
	}}
	if !reflect.DeepEqual(c.Cycle, want.Cycle) || c.Lost != 0 {
		t.Errorf("cycle is\n%+v, want\n%+v", c.Cycle, want.Cycle)
	}
	sample := record.Sample{
		Time: end, Source: record.SourceGCTrace, HeapMarkedBytes: 2 << 20, HeapReleasedBytes: 300 << 10, GCCycles: 1, LastGC: end, GOMAXPROCS: 4,
		PauseTotal: ms, CPUGCAssist: 2 * ms, CPUGCDedicated: 3 * ms, CPUGCIdle: 4 * ms, CPUGCPause: 6 * ms, CPUGCTotal: 15 * ms,
	}
	for _, f := range []record.Field{
		record.FieldGCCycles, record.FieldGOMAXPROCS, record.FieldHeapMarkedBytes, record.FieldHeapReleasedBytes, record.FieldLastGC, record.FieldGCForced, record.FieldPauseTotal,
		record.FieldCPUGCAssist, record.FieldCPUGCDedicated, record.FieldCPUGCIdle, record.FieldCPUGCPause, record.FieldCPUGCTotal,
	} {
		sample.Has.Add(f)
	}
	if c.Sample != sample {
		t.Errorf("sample is\n%+v, want\n%+v", c.Sample, sample)
	}

	// The pacer's line and the scavenger's are used once.
	if !line(gc2) || c.HeapStartBytes != 3<<20 || c.StackScanBytes != 0 || c.Sample.Has.Has(record.FieldHeapReleasedBytes) {
		t.Errorf("second cycle is %+v", c.Cycle)
	}
	if !c.Forced || c.Sample.GCForced != 1 || c.Sample.CPUGCTotal != 15*ms {
		t.Errorf("second sample is %+v", c.Sample)
	}

	// Lost cycles end the sums.
	line(scav20)
	if !line(gc5) || c.Lost != 2 || c.Sample.GCCycles != 5 || c.Sample.HeapReleasedBytes != 400<<10 {
		t.Errorf("fifth cycle: %d lost, %+v", c.Lost, c.Sample)
	}
	for _, f := range []record.Field{record.FieldPauseTotal, record.FieldGCForced, record.FieldCPUGCTotal} {
		if c.Sample.Has.Has(f) {
			t.Errorf("%s is there although cycles were lost", f)
		}
	}

	// A cycle that comes again is another process's.
	if line(gc2) || !p.Mixed() || line(strings.Replace(gc5, "gc 5", "gc 6", 1)) {
		t.Error("cycles of two processes are taken for one's")
	}
}

func TestParserRefuses(t *testing.T) {
	for _, l := range []string{
		strings.Replace(gc1, "@0.500s", "@99999999999s", 1),
		strings.Replace(gc1, "3->4->2", "3->17592186044416->2", 1),
		strings.Replace(gc1, "4 P", "4294967296 P", 1),
		strings.Replace(gc1, "gc 1", "gc 0", 1),
	} {
		var c Cycle
		if NewParser(start).Line([]byte(l), &c) {
			t.Errorf("%q is believed", l)
		}
	}
	for _, pacer := range []string{
		strings.Replace(pacer1, "200+300", "-200+300", 1),
		strings.Replace(pacer1, "4194309 B", "14194309 B", 1),
		strings.Replace(pacer1, "-1048580", "9000000000", 1),
		pacer1 + ratio,
	} {
		p := NewParser(start)
		var c Cycle
		for _, l := range strings.SplitAfter(pacer, "\n") {
			p.Line([]byte(l), &c)
		}
		if !p.Line([]byte(gc1), &c) || c.HeapStartBytes != 3<<20 {
			t.Errorf("%q is believed: %+v", pacer, c.Cycle)
		}
	}
}

func TestEnviron(t *testing.T) {
	for _, test := range []struct {
		in, want []string
		asked    bool
	}{
		{nil, []string{"GODEBUG=" + Settings}, false},
		{[]string{"A=1", "GODEBUG=", "B=2"}, []string{"A=1", "B=2", "GODEBUG=" + Settings}, false},
		{[]string{"GODEBUG=madvdontneed=1"}, []string{"GODEBUG=madvdontneed=1," + Settings}, false},
		{[]string{"GODEBUG=a=1", "GODEBUG=gctrace=1,b=2"}, []string{"GODEBUG=gctrace=1,b=2," + Settings}, true},
		{[]string{"GODEBUG=gctrace=1,gctrace=0"}, []string{"GODEBUG=gctrace=1,gctrace=0," + Settings}, false},
	} {
		got, asked := Environ(test.in)
		if !reflect.DeepEqual(got, test.want) || asked != test.asked {
			t.Errorf("Environ(%q) = %q, %v, want %q, %v", test.in, got, asked, test.want, test.asked)
		}
	}
}
