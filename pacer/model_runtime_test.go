package pacer

import (
	"bufio"
	"flag"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var vectorsFlag = flag.String("vectors", "testdata/runtime.txt", "what the pacers of real toolchains answered (tools/pacervectors)")

// TestRuntime holds the model against what the pacer of each Go release answered to
// the same inputs, bit for bit.
func TestRuntime(t *testing.T) {
	f, err := os.Open(*vectorsFlag)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var releases []string
	count := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.HasPrefix(line, "go1."):
			releases = strings.Fields(line)
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		ask, ok := questions[kind]
		if !ok {
			t.Fatalf("%q is no question", kind)
		}
		ins, outs, _ := strings.Cut(rest, " = ")
		in, want := words(t, ins), words(t, outs)
		for _, r := range releases {
			m := mustModel(t, r)
			// The sign of a NaN is the processor's.
			nan := func(w uint64) bool { return kind == "consmark" && math.IsNaN(math.Float64frombits(w)) }
			same := func(a, b uint64) bool { return a == b || nan(a) && nan(b) }
			if got := ask(m, in, want); !slices.EqualFunc(got, want, same) {
				t.Errorf("%s: %s\n got %x\nwant %x", r, line, got, want)
			}
			count[r+" "+kind]++
		}
	}
	for minor := oldestMinor; minor <= newestMinor; minor++ {
		for kind := range questions {
			n := 0
			for key, c := range count {
				if m, _ := minorOf(strings.Fields(key)[0]); m == minor && strings.HasSuffix(key, " "+kind) {
					n += c
				}
			}
			if n < 30 {
				t.Errorf("go1.%d: %d answers about %s", minor, n, kind)
			}
		}
	}
}

func words(t *testing.T, s string) []uint64 {
	var ws []uint64
	for f := range strings.FieldsSeq(s) {
		v, err := strconv.ParseUint(f, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, v)
	}
	return ws
}

func bits(f float64) uint64 { return math.Float64bits(f) }

// questions are the same as in tools/pacervectors/probe/runtime.go.txt.
var questions = map[string]func(m Model, in, want []uint64) []uint64{
	"pace": func(m Model, in, _ []uint64) []uint64 {
		h := Heap{Marked: in[0], HeapScan: in[1], StackScan: in[2], Globals: in[3]}
		mem := Memory{Limit: int64(in[9]), MappedReady: in[10], HeapFree: in[11], HeapAlloc: in[12]}
		p := m.Commit(h, int64(in[4]), math.Float64frombits(in[5]), in[6], in[7] != 0)
		p.Triggered = in[8]
		trigger, goal := m.Trigger(p, mem)
		return []uint64{p.PercentGoal, p.MinTrigger, p.Runway, trigger, goal, m.HeapMinimum(int64(in[4])), m.LimitGoal(mem, h.Marked)}
	},
	"workers": func(m Model, in, _ []uint64) []uint64 {
		w := m.Workers(int(in[0]), in[1] != 0)
		return []uint64{uint64(w.Dedicated), bits(w.FractionalUtilization), uint64(w.IdleMax)}
	},
	"assist": func(m Model, in, want []uint64) []uint64 {
		goal := want[0] // the goal that was given, raised above where the cycle started
		a := m.Assist(Mark{Goal: goal, Triggered: in[1], Live: in[2], HeapScan: in[3], MaxStack: in[4], Done: int64(in[5]),
			Last: Heap{HeapScan: in[6], StackScan: in[7], Globals: in[8]}}, int64(in[9]))
		return []uint64{goal, bits(a.WorkPerByte), bits(a.BytesPerWork)}
	},
	"consmark": func(m Model, in, _ []uint64) []uint64 {
		c := ConsMark{Estimate: math.Float64frombits(in[0])}
		for i := range c.Last {
			c.Last[i] = math.Float64frombits(in[1+i])
		}
		if m.minor < 21 {
			c.Last = [4]float64{3: c.Last[3]}
		}
		c = m.NextConsMark(c, CycleEnd{Triggered: in[5], Live: in[6], ScanWork: int64(in[7]), Elapsed: time.Duration(in[8]),
			AssistTime: time.Duration(in[9]), IdleTime: time.Duration(in[10]), GOMAXPROCS: int(in[11])})
		return []uint64{bits(c.Estimate), bits(c.Last[0]), bits(c.Last[1]), bits(c.Last[2]), bits(c.Last[3])}
	},
	"limiter": func(_ Model, in, _ []uint64) []uint64 {
		l := Limiter{Fill: in[0], Capacity: in[1], Overflow: in[2], Enabled: in[3] != 0}
		switch in[4] {
		case 0:
			l = l.Resize(int(in[5]))
		case 1:
			l = l.Pause(time.Duration(in[5]))
		default:
			l = l.Run(time.Duration(in[5]), time.Duration(in[6]), time.Duration(in[7]), in[4] == 3)
		}
		enabled := uint64(0)
		if l.Enabled {
			enabled = 1
		}
		return []uint64{l.Fill, l.Capacity, l.Overflow, enabled}
	},
	"scavenge": func(m Model, in, want []uint64) []uint64 {
		g := m.ScavengeGoals(Scavenge{Limit: int64(in[0]), HeapGoal: in[1], LastHeapGoal: in[2], LastHeapInUse: in[3],
			HeapRetained: in[4] + in[5], MappedReady: in[6], PageSize: want[2]})
		return []uint64{g.HeapRetained, g.MappedReady, want[2]}
	},
}
