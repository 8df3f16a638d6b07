package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var (
	matrixFlag  = flag.String("matrix", "slice", "how much of (Go release x build mode) to run: slice or full")
	releaseFlag = flag.String("matrix-releases", "", "comma-separated releases instead")
	roundsFlag  = flag.Int("matrix-rounds", 10, "readings of each kind per program")
)

// A buildMode is a way to build the subject.
type buildMode struct {
	name string
	env  []string
	args []string
	cgo  bool
	// least is the oldest minor release that can build it.
	least int
}

var buildModes = []buildMode{
	{name: "exe"},
	{name: "pie", args: []string{"-buildmode=pie"}},
	{name: "static-pie", args: []string{"-buildmode=pie"}, cgo: true},
	{name: "cgo", cgo: true},
	{name: "cgo-pie", args: []string{"-buildmode=pie"}, cgo: true},
	{name: "trimpath", args: []string{"-trimpath"}},
	{name: "race", args: []string{"-race"}, cgo: true},
	{name: "pgo", args: []string{"-pgo=../runtime.pgo"}, least: 21},
	{name: "v3", env: []string{"GOAMD64=v3"}},
}

// ldflags of each mode, with and without symbols.
func (m buildMode) ldflags(stripped bool) string {
	var l []string
	switch m.name {
	case "cgo", "cgo-pie":
		l = append(l, "-linkmode=external")
	case "static-pie":
		l = append(l, "-linkmode=external", "-extldflags=-static-pie")
	}
	if stripped {
		l = append(l, "-s", "-w")
	}
	return strings.Join(l, " ")
}

// subjects are built once per test binary run, into one directory.
func buildSubject(t testing.TB, release string, m buildMode, stripped bool) string {
	t.Helper()
	dir := subjectDir(t)
	out := filepath.Join(dir, fmt.Sprintf("subject-%s-%s-%v", release, m.name, stripped))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	args := append([]string{"build", "-o", out, "-ldflags=" + m.ldflags(stripped)}, m.args...)
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = "testdata/subject"
	cgo := "CGO_ENABLED=0"
	if m.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", cgo)
	if release != "local" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+strings.Replace(release, "go1.20.0", "go1.20", 1))
	}
	cmd.Env = append(cmd.Env, m.env...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the subject with %s as %s: %v\n%s", release, m.name, err, b)
	}
	return out
}

var subjects string

func subjectDir(t testing.TB) string {
	if subjects == "" {
		t.Fatal("no directory for subjects")
	}
	return subjects
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "heapwright-subjects")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	subjects = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A subject is a running testdata/subject.
type subject struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *bytes.Buffer // standard error; whole once cmd.Wait has returned
}

func startSubject(t testing.TB, exe string, args ...string) *subject {
	t.Helper()
	return startSubjectEnv(t, nil, exe, args...)
}

func startSubjectEnv(t testing.TB, env []string, exe string, args ...string) *subject {
	t.Helper()
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &subject{t, cmd, in, bufio.NewReader(out), &stderr}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := s.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("subject said %q: %v\n%s", line, err, stderr.String())
	}
	return s
}

func (s *subject) send(b byte) {
	s.t.Helper()
	if _, err := s.in.Write([]byte{b}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *subject) receive(v any) {
	s.t.Helper()
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		s.t.Fatalf("%v in %q", err, line)
	}
}

// metrics has the subject read its own runtime/metrics; between says when the
// subject has done so and stands still.
func (s *subject) metrics(between func()) map[string]json.RawMessage {
	s.t.Helper()
	s.send('m')
	if b, err := s.out.ReadByte(); b != '.' {
		s.t.Fatalf("subject answered %q: %v", b, err)
	}
	between()
	s.send('.')
	var m map[string]json.RawMessage
	s.receive(&m)
	return m
}

// A comparison says which field of a Sample is which metric of runtime/metrics.
type comparison struct {
	metric string
	field  record.Field
	value  func(*record.Sample) float64
	// drifts are values that the runtime moves in the background even at rest.
	drifts float64
	// gauge values go both ways; under load they cannot be held to a window.
	gauge bool
}

func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

var comparisons = []comparison{
	{metric: "/gc/heap/live:bytes", field: record.FieldHeapMarkedBytes, value: func(s *record.Sample) float64 { return float64(s.HeapMarkedBytes) }, gauge: true},
	{metric: "/gc/heap/goal:bytes", field: record.FieldHeapGoalBytes, value: func(s *record.Sample) float64 { return float64(s.HeapGoalBytes) }, gauge: true},
	{metric: "/gc/heap/allocs:bytes", field: record.FieldTotalAllocBytes, value: func(s *record.Sample) float64 { return float64(s.TotalAllocBytes) }},
	{metric: "/gc/heap/frees:bytes", field: record.FieldTotalFreeBytes, value: func(s *record.Sample) float64 { return float64(s.TotalFreeBytes) }},
	{metric: "/gc/heap/allocs:objects", field: record.FieldAllocObjects, value: func(s *record.Sample) float64 { return float64(s.AllocObjects - s.TinyAllocs) }},
	{metric: "/gc/heap/frees:objects", field: record.FieldFreeObjects, value: func(s *record.Sample) float64 { return float64(s.FreeObjects - s.TinyAllocs) }},
	{metric: "/gc/heap/tiny/allocs:objects", field: record.FieldTinyAllocs, value: func(s *record.Sample) float64 { return float64(s.TinyAllocs) }},
	{metric: "/gc/cycles/total:gc-cycles", field: record.FieldGCCycles, value: func(s *record.Sample) float64 { return float64(s.GCCycles) }},
	{metric: "/gc/cycles/forced:gc-cycles", field: record.FieldGCForced, value: func(s *record.Sample) float64 { return float64(s.GCForced) }},
	{metric: "/gc/gogc:percent", field: record.FieldGOGCPercent, value: func(s *record.Sample) float64 { return float64(s.GOGCPercent) }},
	{metric: "/gc/gomemlimit:bytes", field: record.FieldGOMEMLIMITBytes, value: func(s *record.Sample) float64 { return float64(s.GOMEMLIMITBytes) }},
	{metric: "/gc/limiter/last-enabled:gc-cycle", field: record.FieldLimiterLastCycle, value: func(s *record.Sample) float64 { return float64(s.LimiterLastCycle) }},
	{metric: "/gc/scan/stack:bytes", field: record.FieldStackScanBytes, value: func(s *record.Sample) float64 { return float64(s.StackScanBytes) }, gauge: true},
	{metric: "/gc/scan/globals:bytes", field: record.FieldGlobalsScanBytes, value: func(s *record.Sample) float64 { return float64(s.GlobalsScanBytes) }, gauge: true},
	{metric: "/memory/classes/heap/objects:bytes", field: record.FieldHeapObjectsBytes, value: func(s *record.Sample) float64 { return float64(s.HeapObjectsBytes) }, gauge: true},
	{metric: "/memory/classes/heap/stacks:bytes", field: record.FieldStackInUseBytes, value: func(s *record.Sample) float64 { return float64(s.StackInUseBytes) }, gauge: true},
	{metric: "/memory/classes/heap/free:bytes", field: record.FieldHeapFreeBytes, value: func(s *record.Sample) float64 { return float64(s.HeapFreeBytes) }, gauge: true, drifts: 4 << 20},
	{metric: "/memory/classes/heap/released:bytes", field: record.FieldHeapReleasedBytes, value: func(s *record.Sample) float64 { return float64(s.HeapReleasedBytes) }, gauge: true, drifts: 4 << 20},
	{metric: "/sched/gomaxprocs:threads", field: record.FieldGOMAXPROCS, value: func(s *record.Sample) float64 { return float64(s.GOMAXPROCS) }},
	{metric: "runtime.NumGoroutine", field: record.FieldGoroutines, value: func(s *record.Sample) float64 { return float64(s.Goroutines) }},
	{metric: "/cpu/classes/gc/mark/assist:cpu-seconds", field: record.FieldCPUGCAssist, value: func(s *record.Sample) float64 { return seconds(s.CPUGCAssist) }},
	{metric: "/cpu/classes/gc/mark/dedicated:cpu-seconds", field: record.FieldCPUGCDedicated, value: func(s *record.Sample) float64 { return seconds(s.CPUGCDedicated) }},
	{metric: "/cpu/classes/gc/mark/idle:cpu-seconds", field: record.FieldCPUGCIdle, value: func(s *record.Sample) float64 { return seconds(s.CPUGCIdle) }},
	{metric: "/cpu/classes/gc/pause:cpu-seconds", field: record.FieldCPUGCPause, value: func(s *record.Sample) float64 { return seconds(s.CPUGCPause) }},
	{metric: "/cpu/classes/gc/total:cpu-seconds", field: record.FieldCPUGCTotal, value: func(s *record.Sample) float64 { return seconds(s.CPUGCTotal) }},
	{metric: "/cpu/classes/scavenge/assist:cpu-seconds", field: record.FieldCPUScavengeAssist, value: func(s *record.Sample) float64 { return seconds(s.CPUScavengeAssist) }},
	{metric: "/cpu/classes/scavenge/background:cpu-seconds", field: record.FieldCPUScavengeBackground, value: func(s *record.Sample) float64 { return seconds(s.CPUScavengeBackground) }},
	{metric: "/cpu/classes/scavenge/total:cpu-seconds", field: record.FieldCPUScavengeTotal, value: func(s *record.Sample) float64 { return seconds(s.CPUScavengeTotal) }},
	{metric: "/cpu/classes/idle:cpu-seconds", field: record.FieldCPUIdle, value: func(s *record.Sample) float64 { return seconds(s.CPUIdle) }},
	{metric: "/cpu/classes/user:cpu-seconds", field: record.FieldCPUUser, value: func(s *record.Sample) float64 { return seconds(s.CPUUser) }},
	{metric: "/cpu/classes/total:cpu-seconds", field: record.FieldCPUTotal, value: func(s *record.Sample) float64 { return seconds(s.CPUTotal) }},
}

var histograms = []struct {
	metrics []string // the first that the release has
	field   record.Field
	value   func(*record.Sample) *record.TimeHistogram
}{
	{[]string{"/sched/latencies:seconds"}, record.FieldSchedLatency, func(s *record.Sample) *record.TimeHistogram { return &s.SchedLatency }},
	{[]string{"/sched/pauses/stopping/gc:seconds"}, record.FieldSTWStoppingGC, func(s *record.Sample) *record.TimeHistogram { return &s.STWStoppingGC }},
	{[]string{"/sched/pauses/stopping/other:seconds"}, record.FieldSTWStoppingOther, func(s *record.Sample) *record.TimeHistogram { return &s.STWStoppingOther }},
	{[]string{"/sched/pauses/total/gc:seconds", "/gc/pauses:seconds"}, record.FieldSTWTotalGC, func(s *record.Sample) *record.TimeHistogram { return &s.STWTotalGC }},
	{[]string{"/sched/pauses/total/other:seconds"}, record.FieldSTWTotalOther, func(s *record.Sample) *record.TimeHistogram { return &s.STWTotalOther }},
}

func metricValue(m map[string]json.RawMessage, name string) (float64, bool) {
	raw, ok := m[name]
	if !ok {
		return 0, false
	}
	if name == "/gc/gogc:percent" && string(raw) == "18446744073709551615" {
		return -1, true // off
	}
	var f float64
	return f, json.Unmarshal(raw, &f) == nil
}

// A tally counts, per field, readings that were right and that were wrong.
type tally map[string]*[2]int

func (t tally) add(name string, right bool) {
	if t[name] == nil {
		t[name] = new([2]int)
	}
	if right {
		t[name][0]++
	} else {
		t[name][1]++
	}
}

// equal allows for seconds as a float64 in the subject and nanoseconds here.
func equal(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// atRest compares while the subject stands still: every value must be equal.
func atRest(t testing.TB, s *subject, target *Target, rounds int, rest tally) {
	var out record.Sample
	for done, tries := 0, 0; done < rounds; tries++ {
		if tries == 20*rounds {
			t.Fatalf("the subject stood still in %d of %d tries", done, tries)
		}
		m := s.metrics(func() {
			if err := target.Sample(&out); err != nil {
				t.Fatal(err)
			}
		})
		if n, _ := metricValue(m, "/gc/cycles/total:gc-cycles"); uint64(n) != out.GCCycles || out.GCPhase != 0 {
			continue // not at rest: a cycle was under way, as it always is near the limit
		}
		done++
		for _, c := range comparisons {
			want, ok := metricValue(m, c.metric)
			if !ok || !out.Has.Has(c.field) {
				continue
			}
			got := c.value(&out)
			right := equal(got, want) || math.Abs(got-want) <= c.drifts
			rest.add(c.metric, right)
			if !right {
				t.Errorf("at rest %s is %v, read as %v", c.metric, want, got)
			}
		}
		for _, h := range histograms {
			if want, name := subjectHistogram(t, m, h.metrics); want != nil {
				right := out.Has.Has(h.field)
				got := h.value(&out)
				// The subject's own read of its input may have been scheduled since;
				// the world was not stopped since.
				allowed := uint64(0)
				if h.field == record.FieldSchedLatency {
					allowed = 4
				}
				if distance(got, want) > allowed {
					right = false
				}
				rest.add(name, right)
				if !right {
					t.Errorf("at rest %s differs by %d counts", name, distance(got, want))
				}
			}
		}
	}
}

func subjectHistogram(t testing.TB, m map[string]json.RawMessage, names []string) (*record.TimeHistogram, string) {
	for _, n := range names {
		raw, ok := m[n]
		if !ok {
			continue
		}
		var h struct{ Counts []uint64 }
		if err := json.Unmarshal(raw, &h); err != nil || len(h.Counts) != record.TimeHistogramBuckets+2 {
			t.Fatalf("%s: %d buckets, %v", n, len(h.Counts), err)
		}
		out := &record.TimeHistogram{Underflow: h.Counts[0], Overflow: h.Counts[len(h.Counts)-1]}
		copy(out.Counts[:], h.Counts[1:])
		return out, n
	}
	return nil, ""
}

func distance(a, b *record.TimeHistogram) uint64 {
	d := func(x, y uint64) uint64 { return max(x, y) - min(x, y) }
	n := d(a.Underflow, b.Underflow) + d(a.Overflow, b.Overflow)
	for i := range a.Counts {
		n += d(a.Counts[i], b.Counts[i])
	}
	return n
}

// underLoad compares while the subject allocates: what only grows must lie
// between a reading before and one after the subject's own.
func underLoad(t testing.TB, s *subject, target *Target, rounds int, load tally) {
	var before, after record.Sample
	sample := func(out *record.Sample) {
		for try := 0; ; try++ {
			err := target.Sample(out)
			if err == nil {
				return
			}
			if !errors.Is(err, ErrUnsettled) || try == 100 {
				t.Fatal(err)
			}
		}
	}
	for range rounds {
		sample(&before)
		m := s.metrics(func() { sample(&after) })
		for _, c := range comparisons {
			want, ok := metricValue(m, c.metric)
			if !ok || c.gauge {
				continue
			}
			lo, hi := c.value(&before), c.value(&after)
			right := (lo <= want || equal(lo, want)) && (want <= hi || equal(want, hi))
			load.add(c.metric, right)
			if !right {
				t.Errorf("under load %s is %v, read as %v before and %v after", c.metric, want, lo, hi)
			}
		}
	}
}

// pauses compares the rings; the cycles that were read must be those of the subject, none lost.
func pauses(t testing.TB, s *subject, target *Target) int {
	var out record.Sample
	first := target.books.prevGC
	var cycles []record.Cycle
	for range 50 {
		s.send('g')
		if line, _ := s.out.ReadString('\n'); line != "done\n" {
			t.Fatalf("subject said %q", line)
		}
		if err := target.Sample(&out); err != nil {
			t.Fatal(err)
		}
		var lost uint64
		cycles, lost, _ = target.Cycles(cycles)
		if lost != 0 {
			t.Errorf("%d cycles lost", lost)
		}
	}
	var ms struct {
		NumGC      uint64   `json:"numgc"`
		PauseTotal uint64   `json:"pause_total"`
		NextGC     uint64   `json:"next_gc"`
		PauseNS    []uint64 `json:"pause_ns"`
		PauseEnd   []uint64 `json:"pause_end"`
	}
	s.send('p')
	s.receive(&ms)
	detailed := 0
	next := first + 1
	for _, c := range cycles {
		if c.N != next {
			t.Fatalf("cycle %d follows %d", c.N, next-1)
		}
		next++
		i := (c.N - 1) % ring
		if uint64(c.Pause) != ms.PauseNS[i] || uint64(c.End.UnixNano()) != ms.PauseEnd[i] {
			t.Errorf("cycle %d paused %d ns until %d, read as %d until %d", c.N, ms.PauseNS[i], ms.PauseEnd[i], c.Pause, c.End.UnixNano())
		}
		if c.Detail {
			detailed++
			if c.SweepTermination+c.MarkTermination <= 0 || c.HeapMarkedBytes == 0 || c.Procs == 0 {
				t.Errorf("cycle %d: %+v", c.N, c)
			}
			// MemStats and the target's own runtime.GC calls: all of these were asked for.
			if !c.Forced {
				t.Errorf("cycle %d was not read as forced", c.N)
			}
		}
	}
	if len(cycles) < 50 || detailed < 45 {
		t.Errorf("%d cycles, %d in detail, of 50", len(cycles), detailed)
	}
	return len(cycles)
}

func attachSubject(t testing.TB, s *subject) *Target {
	t.Helper()
	target, err := Attach(context.Background(), s.cmd.Process.Pid)
	if err != nil {
		hint := ""
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			hint = h.Hint()
		}
		t.Fatalf("%v (%s)", err, hint)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// minorOf returns 26 for "go1.26.8".
func minorOf(release string) int {
	var n int
	fmt.Sscanf(release, "go1.%d", &n)
	return n
}

// TestMatrix reads the subject, built by each Go release in each way, and holds
// every value against the subject's own. With -matrix=full it covers the newest
// patch of every minor release in every build mode, and prints the table.
func TestMatrix(t *testing.T) {
	releases := []string{"local", "go1.20.14", "go1.27.4"}
	modes := []string{"exe", "cgo-pie"}
	if *matrixFlag == "full" {
		releases = []string{"go1.20.14", "go1.21.13", "go1.22.12", "go1.23.3", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.11", "go1.27.4"}
		modes = nil
	}
	if *releaseFlag != "" {
		releases = strings.Split(*releaseFlag, ",")
	}
	rest, load := tally{}, tally{}
	programs, nPauses := 0, 0
	for _, release := range releases {
		for _, m := range buildModes {
			// Every mode with the local toolchain; a slice of the others.
			if modes != nil && release != "local" && !slices.Contains(modes, m.name) || release != "local" && minorOf(release) < m.least {
				continue
			}
			for _, stripped := range []bool{false, true} {
				name := fmt.Sprintf("%s/%s", release, m.name)
				if stripped {
					name += "-stripped"
				}
				t.Run(name, func(t *testing.T) {
					exe := buildSubject(t, release, m, stripped)
					idle := startSubject(t, exe)
					target := attachSubject(t, idle)
					atRest(t, idle, target, *roundsFlag, rest)
					nPauses += pauses(t, idle, target)
					busy := startSubject(t, exe, "-load=4")
					underLoad(t, busy, attachSubject(t, busy), *roundsFlag, load)
					programs++
				})
			}
		}
	}
	if *matrixFlag == "full" || testing.Verbose() {
		printTallies(t, programs, nPauses, rest, load)
	}
}

// TestExperiments: a GOEXPERIMENT that changes the runtime has tables of its own,
// one that does not has none.
func TestExperiments(t *testing.T) {
	builds := map[string][]string{"local": {"nogreenteagc", "jsonv2"}}
	if *matrixFlag == "full" {
		builds = map[string][]string{"go1.24.13": {"noswissmap", "nospinbitmutex"}, "go1.25.14": {"greenteagc", "jsonv2"}, "go1.26.11": {"nogreenteagc"}, "go1.27.4": {"nogreenteagc"}}
	}
	for release, experiments := range builds {
		for _, x := range experiments {
			t.Run(release+"/"+x, func(t *testing.T) {
				m := buildMode{name: x, env: []string{"GOEXPERIMENT=" + x}}
				s := startSubject(t, buildSubject(t, release, m, true))
				target := attachSubject(t, s)
				atRest(t, s, target, 5, tally{})
				pauses(t, s, target)
			})
		}
	}
}

// TestSettings: the heap goal follows from other parts of the pacer under each
// of these, and must be the target's own under all.
func TestSettings(t *testing.T) {
	for _, release := range []string{"local", "go1.20.14", "go1.27.4"} {
		exe := buildSubject(t, release, buildModes[0], true)
		for _, c := range []struct {
			gogc, limit, retain string
			storm               bool // below the live heap: one cycle follows the other, and nothing rests
		}{
			{gogc: "off", limit: "off", retain: "8"}, {gogc: "50", limit: "off", retain: "64"}, {gogc: "1000", limit: "off", retain: "1"},
			{gogc: "off", limit: "64MiB", retain: "8"}, {gogc: "100", limit: "64MiB", retain: "40"}, {gogc: "100", limit: "1GiB", retain: "8"},
			{gogc: "100", limit: "32MiB", retain: "64", storm: true}, {gogc: "off", limit: "1", retain: "8", storm: true},
		} {
			t.Run(fmt.Sprintf("%s/GOGC=%s,GOMEMLIMIT=%s,live=%sMiB", release, c.gogc, c.limit, c.retain), func(t *testing.T) {
				s := startSubjectEnv(t, []string{"GOGC=" + c.gogc, "GOMEMLIMIT=" + c.limit}, exe, "-retain="+c.retain)
				target := attachSubject(t, s)
				if c.storm {
					underLoad(t, s, target, 5, tally{})
				} else {
					atRest(t, s, target, 5, tally{})
				}
			})
		}
	}
}

func printTallies(t *testing.T, programs, nPauses int, rest, load tally) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d programs, %d pauses equal to the nanosecond unless reported above\n", programs, nPauses)
	fmt.Fprintf(&b, "%-48s %14s %20s\n", "metric", "equal at rest", "inside under load")
	cell := func(c *[2]int) string {
		if c == nil {
			return "-"
		}
		return fmt.Sprintf("%d/%d", c[0], c[0]+c[1])
	}
	for _, n := range slices.Sorted(maps.Keys(rest)) {
		fmt.Fprintf(&b, "%-48s %14s %20s\n", n, cell(rest[n]), cell(load[n]))
	}
	t.Log("\n" + b.String())
}
