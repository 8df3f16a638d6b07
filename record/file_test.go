package record

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A generator makes values with every field used at some time, at the edges of
// their ranges too.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 1))} }

func (g generator) uint64() uint64 {
	switch g.IntN(8) {
	case 0:
		return 0
	case 1:
		return math.MaxUint64
	}
	return g.Uint64() >> g.IntN(64)
}

func (g generator) duration() time.Duration { return time.Duration(g.uint64()) }

func (g generator) time() time.Time {
	return time.Unix(g.Int64N(4e9), g.Int64N(2)*g.Int64N(1e9)).UTC()
}

func (g generator) string() string {
	words := []string{"", "main.main", "a\"b\\c", "naïve ☃", "tab\tnl\n", "<&>", "\u2028", "runtime.(*mheap[go.shape.int]).alloc"}
	return words[g.IntN(len(words))]
}

func (g generator) stringMap() map[string]string {
	if g.IntN(2) == 0 {
		return nil
	}
	return map[string]string{"k" + g.string(): g.string()}
}

func (g generator) sample() Sample {
	s := Sample{Time: g.time(), Source: Source(g.string())}
	for f := range NumFields {
		if g.IntN(3) == 0 {
			continue
		}
		s.Has.Add(f)
		switch p := fields[f].at(&s).(type) {
		case *uint64:
			*p = g.uint64()
		case *int64:
			*p = int64(g.uint64())
		case *time.Duration:
			*p = g.duration()
		case *bool:
			*p = g.IntN(2) == 0
		case *float64:
			*p = g.NormFloat64() * math.Pow(10, float64(g.IntN(600)-300))
		case *time.Time:
			*p = g.time()
		case *TimeHistogram:
			for range g.IntN(20) {
				p.Counts[g.IntN(TimeHistogramBuckets)] = g.uint64()
			}
			p.Underflow, p.Overflow = g.uint64()&1, g.uint64()
		case *[NumSizeClasses]uint64:
			for range g.IntN(20) {
				p[g.IntN(NumSizeClasses)] = g.uint64()
			}
		default:
			panic(fmt.Sprintf("%s has the type %T", f, p))
		}
	}
	return s
}

func (g generator) frame() Frame {
	return Frame{Func: g.string(), File: g.string(), Line: int(g.Int32())}
}

func (g generator) stack() []Frame {
	var stack []Frame
	for range 1 + g.IntN(5) {
		stack = append(stack, g.frame())
	}
	return stack
}

func (g generator) process() Process {
	return Process{
		PID: int(g.Int32()), StartTime: g.time(), Name: g.string(), Exe: g.string(), MainPackage: g.string(), GoVersion: "go1.26.8",
		BuildSettings: g.stringMap(), Stripped: g.IntN(2) == 0, UID: g.IntN(1000), GoEnv: g.stringMap(),
		MemoryLimitBytes: g.uint64(), CPUQuotaCores: g.Float64(), HostMemoryBytes: g.uint64(), HostCPUs: g.IntN(512),
	}
}

func (g generator) cycle() Cycle {
	return Cycle{
		N: g.uint64(), End: g.time(), Pause: g.duration(), Detail: g.IntN(2) == 0, Forced: g.IntN(2) == 0,
		SweepTermination: g.duration(), Mark: g.duration(), MarkTermination: g.duration(),
		HeapStartBytes: g.uint64(), HeapEndBytes: g.uint64(), HeapMarkedBytes: g.uint64(), HeapGoalBytes: g.uint64(),
		StackScanBytes: g.uint64(), GlobalsScanBytes: g.uint64(),
		Assist: g.duration(), Dedicated: g.duration(), Fractional: g.duration(), Idle: g.duration(), Procs: int(g.Int32()) - 1000,
	}
}

func (g generator) goroutines() Goroutines {
	v := Goroutines{Time: g.time(), Total: g.IntN(100), Groups: []GoroutineGroup{}, Truncated: g.IntN(2)}
	for range g.IntN(4) {
		v.Groups = append(v.Groups, GoroutineGroup{
			Count: g.IntN(9), Status: g.string(), WaitReason: g.string(), WaitMax: g.duration(),
			CreatedBy: g.frame(), Stack: g.stack(), Labels: g.stringMap(), System: g.IntN(2) == 0,
		})
	}
	return v
}

func (g generator) profile() Profile {
	v := Profile{Time: g.time(), Kind: ProfileHeap, PeriodBytes: g.Int64(), Sites: []ProfileSite{}}
	for range g.IntN(4) {
		v.Sites = append(v.Sites, ProfileSite{
			Stack: g.stack(), AllocBytes: g.ExpFloat64(), AllocObjects: g.ExpFloat64(), InUseBytes: 1e300, InUseObjects: 0.1,
			SampledAllocs: g.Int64(), SampledInUse: g.Int64(), Contentions: g.Float64(), Delay: g.duration(),
		})
	}
	return v
}

func (g generator) recording(samples int) *Recording {
	r := &Recording{Process: g.process()}
	for range samples {
		r.Samples = append(r.Samples, g.sample())
		if g.IntN(2) == 0 {
			r.Cycles = append(r.Cycles, g.cycle())
		}
		if g.IntN(8) == 0 {
			r.Events = append(r.Events, Event{Time: g.time(), Kind: EventGap, Text: g.string(), Data: g.stringMap()})
			r.Goroutines = append(r.Goroutines, g.goroutines())
			r.Profiles = append(r.Profiles, g.profile())
		}
	}
	return r
}

// write writes the recordings, the kinds of lines taking turns.
func write(t testing.TB, w *Writer, recordings ...*Recording) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range recordings {
		check(w.Process(r.Process))
		for i := range max(len(r.Samples), len(r.Cycles), len(r.Events), len(r.Goroutines), len(r.Profiles)) {
			if i < len(r.Samples) {
				check(w.Sample(&r.Samples[i]))
			}
			if i < len(r.Cycles) {
				check(w.Cycle(&r.Cycles[i]))
			}
			if i < len(r.Events) {
				check(w.Event(&r.Events[i]))
			}
			if i < len(r.Goroutines) {
				check(w.Goroutines(&r.Goroutines[i]))
			}
			if i < len(r.Profiles) {
				check(w.Profile(&r.Profiles[i]))
			}
		}
	}
}

func encode(t testing.TB, recordings ...*Recording) []byte {
	t.Helper()
	var file bytes.Buffer
	w := NewWriter(&file)
	write(t, w, recordings...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func expand(t testing.TB, file []byte) []byte {
	t.Helper()
	gz, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestWriteReadIdentity(t *testing.T) {
	for seed := range uint64(12) {
		g := newGenerator(seed)
		want := []*Recording{g.recording(g.IntN(15)), g.recording(g.IntN(15))}
		file := encode(t, want...)
		got, err := ReadAll(bytes.NewReader(file))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: what was read is not what was written", seed)
		}
		// The same lines without compression.
		if got, err = ReadAll(bytes.NewReader(expand(t, file))); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: read as text: %v", seed, err)
		}
	}
}

// What the fast encoders write is what encoding/json would make of it.
func TestLinesAreJSON(t *testing.T) {
	g := newGenerator(7)
	for range 200 {
		c := g.cycle()
		got, err := c.appendMembers([]byte("{"), 0)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := json.Marshal(c); string(got) != string(want) {
			t.Fatalf("cycle is encoded as\n%s, encoding/json says\n%s", got, want)
		}

		s := g.sample()
		b, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]any
		if err := json.Unmarshal(b, &keys); err != nil {
			t.Fatal(err)
		}
		for f := range NumFields {
			if _, ok := keys[f.String()]; ok != s.Has.Has(f) {
				t.Fatalf("%s: key %v, Has %v", f, ok, s.Has.Has(f))
			}
		}
		var back Sample
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Fatalf("sample through encoding/json: %v", err)
		}
	}
}

func TestDecodeSample(t *testing.T) {
	histogram := func(c [2]int) (h TimeHistogram) { h.Counts[c[0]] = uint64(c[1]); return h }
	has := func(fields ...Field) (s FieldSet) {
		for _, f := range fields {
			s.Add(f)
		}
		return s
	}
	for _, test := range []struct {
		in   string
		want Sample
		err  string
	}{
		{in: `{}`},
		{in: ` { "gc_cycles" : 3 , "unknown" : {"a":[1,"}",{"\"":null}]} , "goroutines":4}`, want: Sample{Has: has(FieldGCCycles, FieldGoroutines), GCCycles: 3, Goroutines: 4}},
		{in: `{"gc_cycles":null}`},
		{in: `{"gc\u005fcycles":3}`, want: Sample{Has: has(FieldGCCycles), GCCycles: 3}},
		{in: `{"sched_latency":{"counts":[[159,2]],"more":1}}`, want: Sample{Has: has(FieldSchedLatency), SchedLatency: histogram([2]int{159, 2})}},
		{in: `{"time":"2026-01-02T03:04:05+01:00"}`, want: Sample{Time: time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)}},
		{in: `{"limiter_enabled":false}`, want: Sample{Has: has(FieldLimiterEnabled)}},
		{in: `[1]`, err: "not an object"},
		{in: `{"gc_cycles":-1}`, err: "gc_cycles"},
		{in: `{"gc_cycles":1.5}`, err: "gc_cycles"},
		{in: `{"gc_cycles":"3"}`, err: "gc_cycles"},
		{in: `{"gc_cycles":18446744073709551616}`, err: "out of range"},
		{in: `{"goroutines":1e3}`, err: "goroutines"},
		{in: `{"limiter_enabled":1}`, err: "not true or false"},
		{in: `{"limiter_fill_ratio":1e999}`, err: "out of range"},
		{in: `{"sched_latency":[[1,2]]}`, err: "not an object"},
		{in: `{"sched_latency":{"counts":[[160,1]]}}`, err: "index 160 of 160"},
		{in: `{"sched_latency":{"counts":[[1,2,3]]}}`, err: "3 numbers"},
		{in: `{"sched_latency":{"counts":[5]}}`, err: "not an array"},
		{in: `{"size_class_allocs":[[68,1]]}`, err: "index 68 of 68"},
		{in: `{"last_gc":5}`, err: "not a time"},
		{in: `{"last_gc":"yesterday"}`, err: "last_gc"},
		{in: `{"time":"9999-12-31T23:59:59-01:00"}`, err: "year"},
		{in: `{"source":5}`, err: "record.Source"},
		{in: `{"gc_cycles":3`, err: "not JSON"},
		{in: `{"gc_cycles":NaN}`, err: "not JSON"},
	} {
		var got Sample
		err := got.UnmarshalJSON([]byte(test.in))
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%s: %v", test.in, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s: error %v, want one with %q", test.in, err, test.err)
		}
	}
	var h TimeHistogram
	if err := json.Unmarshal([]byte(`{"counts":[[0,1]],"underflow":2,"overflow":3}`), &h); err != nil || h.Count() != 6 {
		t.Errorf("histogram: %v", err)
	}
}

// No key comes twice in a line: readers differ in which one they take.
func TestKeysAreUnique(t *testing.T) {
	g := newGenerator(9)
	r := &Recording{Process: g.process(), Samples: []Sample{g.sample()}, Cycles: []Cycle{g.cycle()}, Events: []Event{{Kind: EventGap, Text: "x", Data: map[string]string{"a": "b"}}}, Goroutines: []Goroutines{g.goroutines()}, Profiles: []Profile{g.profile()}}
	kinds := map[string]bool{}
	for line := range bytes.Lines(expand(t, encode(t, r))) {
		keys := map[string]bool{}
		err := members(line, func(key, value []byte) error {
			if keys[string(key)] {
				t.Errorf("%q comes twice in %s", key, line)
			}
			if keys[string(key)] = true; string(key) == "kind" {
				kinds[string(value)] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(kinds) != 8 {
		t.Errorf("kinds of lines: %v", kinds)
	}
}

// Values that JSON has no words for are refused, and the recording stays good.
func TestWriterRefuses(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file)
	if err := w.Sample(&Sample{}); err == nil {
		t.Error("a sample before any process was written")
	}
	g := newGenerator(3)
	p := g.process()
	if err := w.Process(p); err != nil {
		t.Fatal(err)
	}
	for _, ratio := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		s := Sample{LimiterFillRatio: ratio}
		s.Has.Add(FieldLimiterFillRatio)
		if err := w.Sample(&s); err == nil || !strings.Contains(err.Error(), "limiter_fill_ratio") {
			t.Errorf("ratio %v: %v", ratio, err)
		}
		if err := w.Profile(&Profile{Sites: []ProfileSite{{AllocBytes: ratio}}}); err == nil {
			t.Errorf("a profile with %v was written", ratio)
		}
	}
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	s := Sample{Time: late}
	if err := w.Sample(&s); err == nil {
		t.Error("a sample of the year 10000 was written")
	}
	s = Sample{LastGC: late}
	s.Has.Add(FieldLastGC)
	if err := w.Sample(&s); err == nil {
		t.Error("a GC in the year 10000 was written")
	}
	if err := w.Cycle(&Cycle{End: late}); err == nil {
		t.Error("a cycle of the year 10000 was written")
	}
	if err := w.Event(&Event{Text: strings.Repeat("x", maxLine)}); err == nil {
		t.Error("a line longer than readers take was written")
	}
	want := g.sample()
	if err := w.Sample(&want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Sample(&want); err == nil {
		t.Error("a sample was written after Close")
	}
	got, err := ReadAll(&file)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], &Recording{Process: p, Samples: []Sample{want}}) {
		t.Errorf("read back %v, %v", got, err)
	}
}

// A failingWriter takes so many writes.
type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriterKeepsError(t *testing.T) {
	w := NewWriter(&failingWriter{left: 1})
	r := newGenerator(1).recording(1)
	write(t, w, r)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Errorf("flushing nothing: %v", err)
	}
	if err := w.Cycle(&Cycle{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush: %v, want %v", err, errFull)
	}
	for name, f := range map[string]func() error{
		"Flush again": w.Flush, "Sample": func() error { return w.Sample(&r.Samples[0]) }, "Close": w.Close,
	} {
		if err := f(); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want %v", name, err, errFull)
		}
	}
}

// A Writer flushes after a second of samples, and after so many bytes.
func TestWriterFlushes(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file)
	write(t, w, &Recording{Process: Process{PID: 1}})
	s := newGenerator(1).sample()
	start := time.Unix(1000, 0)
	for i := range 31 {
		s.Time = start.Add(time.Duration(i) * 100 * time.Millisecond)
		if err := w.Sample(&s); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAll(bytes.NewReader(file.Bytes()))
		if i < 10 {
			if file.Len() != 0 {
				t.Fatalf("flushed after %d samples", i+1)
			}
			continue
		}
		if err != nil || len(got[0].Samples) < i-10 || got[0].Truncated == "" {
			t.Fatalf("after %d samples: %v", i+1, err)
		}
	}

	file.Reset()
	for i := 0; file.Len() == 0; i++ {
		if i > flushBytes {
			t.Fatal("events alone are never flushed")
		}
		if err := w.Event(&Event{Kind: EventGap}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	g := newGenerator(5)
	s, c := g.sample(), g.cycle()
	s.Source, s.Time = SourceRemote, time.Unix(1e9, 0)
	w := NewWriter(io.Discard)
	write(t, w, &Recording{Process: g.process()})
	one := func() {
		s.Time = s.Time.Add(100 * time.Millisecond)
		if err := w.Sample(&s); err != nil {
			t.Fatal(err)
		}
		if err := w.Cycle(&c); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("a sample and a cycle take %v allocations", n)
	}
}

// isPrefix reports whether got is a beginning of want, slice by slice.
func isPrefix(got, want *Recording) bool {
	return reflect.DeepEqual(got.Process, want.Process) &&
		len(got.Samples) <= len(want.Samples) && (len(got.Samples) == 0 || reflect.DeepEqual(got.Samples, want.Samples[:len(got.Samples)])) &&
		len(got.Cycles) <= len(want.Cycles) && (len(got.Cycles) == 0 || reflect.DeepEqual(got.Cycles, want.Cycles[:len(got.Cycles)])) &&
		len(got.Events) <= len(want.Events) && (len(got.Events) == 0 || reflect.DeepEqual(got.Events, want.Events[:len(got.Events)])) &&
		len(got.Profiles) <= len(want.Profiles) && (len(got.Profiles) == 0 || reflect.DeepEqual(got.Profiles, want.Profiles[:len(got.Profiles)]))
}

// smallFile is a recording in four members, short enough to be read at every
// offset: one sample in each of the first three.
func smallFile(t testing.TB) (file []byte, want *Recording, members []int) {
	var out bytes.Buffer
	w := NewWriter(&out)
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Unix(1e9, 0).UTC()
	want = &Recording{Process: Process{PID: 7, StartTime: start, Name: "small", GoVersion: "go1.26.8"}}
	check(w.Process(want.Process))
	for i := range 3 {
		s := Sample{Time: start.Add(time.Duration(i) * time.Second), Source: SourceRemote, HeapLiveBytes: 1 << (20 + i), LastGC: start, LimiterFillRatio: 0.25}
		s.SchedLatency.Add(time.Duration(i) * time.Millisecond)
		s.SizeClassAllocs[5] = uint64(i)
		for _, f := range []Field{FieldHeapLiveBytes, FieldLastGC, FieldLimiterFillRatio, FieldSchedLatency, FieldSizeClassAllocs} {
			s.Has.Add(f)
		}
		c := Cycle{N: uint64(i + 1), End: start.Add(time.Duration(i)), Pause: 1000, Detail: true, Mark: 5}
		want.Samples, want.Cycles = append(want.Samples, s), append(want.Cycles, c)
		check(w.Sample(&s), w.Cycle(&c))
		if i == 1 {
			e := Event{Time: start, Kind: EventStarted}
			p := Profile{Time: start, Kind: ProfileHeap, Sites: []ProfileSite{{Stack: []Frame{{Func: "main.main", Line: 3}}, AllocBytes: 1.5}}}
			want.Events, want.Profiles = append(want.Events, e), append(want.Profiles, p)
			check(w.Event(&e), w.Profile(&p))
		}
		check(w.Flush())
		members = append(members, out.Len())
	}
	check(w.Close())
	return out.Bytes(), want, members
}

// A recording that ends anywhere gives all whole lines before that, and says
// that it was cut.
func TestReadTruncatedEverywhere(t *testing.T) {
	file, want, members := smallFile(t)
	samples := 0
	for n := range file {
		got, err := ReadAll(bytes.NewReader(file[:n]))
		if err != nil {
			var not *NotRecordingError
			if !errors.As(err, &not) || samples > 0 {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if len(got) != 1 || got[0].Truncated == "" {
			t.Fatalf("cut at %d: %d recordings, not told that it was cut", n, len(got))
		}
		if !isPrefix(got[0], want) {
			t.Fatalf("cut at %d: what was read was not written", n)
		}
		if len(got[0].Samples) < samples {
			t.Fatalf("cut at %d: %d samples, and %d when it was shorter", n, len(got[0].Samples), samples)
		}
		samples = len(got[0].Samples)
		for i, end := range members {
			if n >= end && samples < i+1 {
				t.Fatalf("cut at %d: %d samples, although member %d was whole", n, samples, i)
			}
		}
	}
	got, err := ReadAll(bytes.NewReader(file))
	if err != nil || !reflect.DeepEqual(got, []*Recording{want}) {
		t.Errorf("whole: %v", err)
	}
}

// A damaged byte anywhere is an error of a known kind, or harmless.
func TestReadDamagedEverywhere(t *testing.T) {
	file, want, _ := smallFile(t)
	for n := range file {
		damaged := bytes.Clone(file)
		damaged[n] ^= 0x55
		got, err := ReadAll(bytes.NewReader(damaged))
		var not *NotRecordingError
		var corrupt *CorruptError
		var schema *SchemaError
		switch {
		case errors.As(err, &corrupt):
			if corrupt.Offset <= 0 || corrupt.Offset > int64(len(file)) || corrupt.Line <= 0 {
				t.Fatalf("byte %d damaged, said to be at %d, line %d", n, corrupt.Offset, corrupt.Line)
			}
			if len(got) > 0 && got[len(got)-1].Truncated == "" {
				t.Fatalf("byte %d damaged: the recording does not say so", n)
			}
		case errors.As(err, &not) || errors.As(err, &schema):
		case err != nil:
			t.Fatalf("byte %d damaged: %v", n, err)
		case got[0].Truncated == "" && !reflect.DeepEqual(got, []*Recording{want}):
			// Only the time and name in a gzip header are not covered by a checksum.
			t.Fatalf("byte %d damaged: other values, and no error", n)
		}
	}
}

const (
	headerLine  = `{"kind":"heapwright-recording","schema":"heapwright.recording/1"}` + "\n"
	processLine = `{"kind":"process","pid":1}` + "\n"
	sampleLine  = `{"kind":"sample","time":"2026-01-02T03:04:05Z","source":"remote","gc_cycles":1}` + "\n"
	endLine     = `{"kind":"end"}` + "\n"
)

func zip(text string) string {
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	io.WriteString(gz, text)
	gz.Close()
	return b.String()
}

func TestReadErrors(t *testing.T) {
	type shape struct{ recordings, samples int }
	for _, test := range []struct {
		name, in string
		want     shape
		err      string // part of the error
		as       any    // its type
		cut      string // part of Truncated
	}{
		{name: "whole", in: headerLine + processLine + sampleLine + endLine, want: shape{1, 1}},
		{name: "killed", in: headerLine + processLine + sampleLine, want: shape{1, 1}, cut: "killed"},
		{name: "one after the other", in: zip(headerLine+processLine+endLine) + zip(headerLine+processLine+sampleLine+endLine), want: shape{2, 1}},
		{name: "the first of two killed", in: headerLine + processLine + headerLine + processLine + sampleLine + endLine, want: shape{2, 1}},
		{name: "unknown kinds", in: headerLine + processLine + `{"kind":"flame","x":[]}` + "\n" + sampleLine + endLine, want: shape{1, 1}},
		{name: "unfinished line", in: headerLine + processLine + sampleLine[:20], want: shape{1, 0}, cut: "middle of a line"},
		{name: "empty", in: "", err: "empty", as: new(*NotRecordingError)},
		{name: "one byte", in: "\x1f", err: "ends before", as: new(*NotRecordingError)},
		{name: "a text", in: "hello world\n", err: "neither", as: new(*NotRecordingError)},
		{name: "a letter", in: "x", err: "neither", as: new(*NotRecordingError)},
		{name: "other JSON", in: `{"a":1}` + "\n", err: "header", as: new(*NotRecordingError)},
		{name: "broken JSON", in: "{]\n", err: "header", as: new(*NotRecordingError)},
		{name: "a kind that is a number", in: `{"kind":1}` + "\n", err: "header", as: new(*NotRecordingError)},
		{name: "a schema that is a number", in: `{"kind":"heapwright-recording","schema":1}` + "\n", err: "header", as: new(*NotRecordingError)},
		{name: "another gzip", in: zip("\x0a\x04\x08\x01\x10\x02"), err: "header", as: new(*NotRecordingError)},
		{name: "another long gzip", in: zip(strings.Repeat("x", 1<<20)), err: "header", as: new(*NotRecordingError)},
		{name: "no header", in: processLine + sampleLine, err: "header", as: new(*NotRecordingError)},
		{name: "no process", in: headerLine + endLine, err: "no process", as: new(*NotRecordingError)},
		{name: "nothing but a header", in: headerLine, err: "no process", as: new(*NotRecordingError)},
		{name: "newer", in: `{"kind":"heapwright-recording","schema":"heapwright.recording/2"}` + "\n", err: `"heapwright.recording/2"`, as: new(*SchemaError)},
		{name: "newer appended", in: headerLine + processLine + `{"kind":"heapwright-recording","schema":"heapwright.recording/2"}` + "\n", want: shape{1, 0}, err: `"heapwright.recording/1"`, as: new(*SchemaError), cut: "schema"},
		{name: "sample first", in: headerLine + sampleLine, err: "line 2", as: new(*CorruptError)},
		{name: "garbage line", in: headerLine + processLine + sampleLine + "hello\n" + sampleLine, want: shape{1, 1}, err: "line 4", as: new(*CorruptError), cut: "line 4"},
		{name: "not an object", in: headerLine + processLine + "[]\n", want: shape{1, 0}, err: "line 3", as: new(*CorruptError), cut: "line 3"},
		{name: "bad sample", in: headerLine + processLine + `{"kind":"sample","gc_cycles":"x"}` + "\n", want: shape{1, 0}, err: "gc_cycles", as: new(*CorruptError), cut: "gc_cycles"},
		{name: "bad cycle", in: headerLine + processLine + `{"kind":"cycle","n":-1}` + "\n", want: shape{1, 0}, err: "line 3", as: new(*CorruptError), cut: "line 3"},
		{name: "garbage after a member", in: zip(headerLine+processLine+endLine) + "hello world", want: shape{1, 0}, err: "gzip: invalid header", as: new(*CorruptError), cut: "gzip"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadAll(strings.NewReader(test.in))
			var is shape
			is.recordings = len(got)
			cut := ""
			for _, r := range got {
				is.samples += len(r.Samples)
				cut = r.Truncated
			}
			if is != test.want {
				t.Errorf("got %+v, want %+v", is, test.want)
			}
			if cut != "" != (test.cut != "") || !strings.Contains(cut, test.cut) {
				t.Errorf("truncated: %q, want %q", cut, test.cut)
			}
			if test.err == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.err) || !errors.As(err, test.as) {
				t.Errorf("error %v (%T), want a %T with %q", err, err, test.as, test.err)
			}
		})
	}
	got, err := ReadAll(strings.NewReader(headerLine + processLine + headerLine + processLine + endLine))
	if err != nil || got[0].Truncated == "" || got[1].Truncated != "" {
		t.Errorf("the first of two was killed: %v, %+v", err, got)
	}
}

func TestReaderReportsReadErrors(t *testing.T) {
	file, want, members := smallFile(t)
	failed := errors.New("input/output error")
	for _, n := range []int{0, 1, 5, members[0] + 5} {
		got, err := ReadAll(io.MultiReader(bytes.NewReader(file[:n]), errReader{failed}))
		if !errors.Is(err, failed) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if n > members[0] && (len(got) != 1 || len(got[0].Samples) != 1 || !isPrefix(got[0], want)) {
			t.Errorf("after %d bytes: what was read before is lost", n)
		}
	}
	r, err := NewReader(bytes.NewReader(file), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Next()
	}
	if _, again := r.Next(); err != io.EOF || again != io.EOF || r.Truncated() != "" {
		t.Errorf("at the end: %v, then %v, %q", err, again, r.Truncated())
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestReaderLimits(t *testing.T) {
	cycle := `{"kind":"cycle","n":1,"end":"2026-01-02T03:04:05Z","pause_ns":1}` + "\n"
	event := `{"kind":"event","time":"2026-01-02T03:04:05Z","event":"gap"}` + "\n"
	profile := `{"kind":"profile","time":"2026-01-02T03:04:05Z","sites":[{},{},{},{},{}]}` + "\n"
	for _, test := range []struct {
		what   string
		limits Limits
		lines  string
	}{
		{"bytes in a line", Limits{LineBytes: 100}, `{"kind":"event","text":"` + strings.Repeat("x", 100) + `"}` + "\n"},
		{"bytes", Limits{TotalBytes: 1000}, strings.Repeat(sampleLine, 100)},
		{"cycles", Limits{Cycles: 3}, strings.Repeat(cycle, 4)},
		{"events", Limits{Events: 3}, strings.Repeat(event, 4)},
		{"processes", Limits{Recordings: 3}, strings.Repeat(processLine, 3)},
		{"objects", Limits{Objects: 10}, profile + profile},
		{"bytes to keep", Limits{KeptBytes: 500}, strings.Repeat(event, 10)},
		{"bytes to keep", Limits{KeptBytes: 500}, strings.Repeat(profile, 10)},
		{"bytes to keep", Limits{KeptBytes: 500}, strings.Repeat(processLine, 30)},
	} {
		r, err := NewReader(strings.NewReader(zip(headerLine+processLine+test.lines)), test.limits)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.ReadAll()
		var limit *LimitError
		if !errors.As(err, &limit) || !strings.HasPrefix(limit.What, test.what) || len(got) == 0 || got[len(got)-1].Truncated == "" {
			t.Errorf("%s: %v, %d recordings", test.what, err, len(got))
		}
	}
}

// A gzip bomb ends at the limit.
func TestReaderBomb(t *testing.T) {
	bomb := zip(headerLine + processLine + strings.Repeat(strings.Repeat(" ", 1<<20)+"{}\n", 16))
	r, err := NewReader(strings.NewReader(bomb), Limits{TotalBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ReadAll()
	var limit *LimitError
	if !errors.As(err, &limit) || limit.What != "bytes" {
		t.Errorf("a gzip bomb: %v", err)
	}
}

// Of too many samples the first, the last, and evenly spread ones between are
// kept.
func TestReaderThins(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 7, 8, 100} {
		for n := 1; n <= 70; n++ {
			text := headerLine + processLine
			for i := range n {
				text += fmt.Sprintf(`{"kind":"sample","gc_cycles":%d}`+"\n", i)
			}
			r, err := NewReader(strings.NewReader(text+endLine), Limits{Samples: limit})
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			samples, stride := got[0].Samples, max(got[0].Thinned, 1)
			if len(samples) > max(limit, 2)+1 || n <= limit && stride != 1 {
				t.Fatalf("limit %d: %d of %d samples kept, stride %d", limit, len(samples), n, stride)
			}
			for i := range samples {
				want := min(i*stride, n-1)
				if samples[i].GCCycles != uint64(want) {
					t.Fatalf("limit %d, %d samples: the one at %d is number %d, want %d", limit, n, i, samples[i].GCCycles, want)
				}
			}
			if last := samples[len(samples)-1].GCCycles; last != uint64(n-1) {
				t.Fatalf("limit %d, %d samples: the last is %d", limit, n, last)
			}
		}
	}
}

// Whatever is read can be written, and then reads the same.
func FuzzReader(f *testing.F) {
	file, _, _ := smallFile(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(expand(f, file))
	f.Add([]byte(headerLine + processLine + sampleLine + endLine))
	f.Add([]byte(headerLine + processLine + `{"kind":"goroutines","groups":[{"stack":[{}],"labels":{"a":"b"}}]}` + "\n"))
	f.Add([]byte(headerLine + processLine + `{"kind":"sample","sched_latency":{"counts":[[1,2],[159,18446744073709551615]]},"last_gc":"2026-01-02T03:04:05.000000001Z"}` + "\n"))
	f.Add([]byte(zip(headerLine+processLine) + "junk"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := NewReader(bytes.NewReader(in), Limits{LineBytes: 1 << 20, TotalBytes: 4 << 20, Samples: 100, Cycles: 1000, Events: 1000, Objects: 10000})
		if err != nil {
			return
		}
		first, _ := r.ReadAll()
		if len(first) == 0 {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, r := range first {
			// Times with a zone may leave the years that JSON has: what is refused is left out.
			if w.Process(r.Process) != nil {
				return
			}
			for i := range r.Samples {
				if err := w.Sample(&r.Samples[i]); err != nil {
					t.Fatal(err)
				}
			}
			for i := range r.Cycles {
				if w.Cycle(&r.Cycles[i]) != nil {
					return
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		second, err := ReadAll(&out)
		if err != nil {
			t.Fatal(err)
		}
		if len(second) != len(first) {
			t.Fatalf("%d recordings, then %d", len(first), len(second))
		}
		for i := range first {
			if len(first[i].Samples) != len(second[i].Samples) || len(first[i].Cycles) != len(second[i].Cycles) {
				t.Fatal("lines are lost")
			}
			for j := range first[i].Samples {
				if first[i].Samples[j] != second[i].Samples[j] {
					t.Fatal("a sample changed")
				}
			}
		}
	})
}

func BenchmarkWriterSample(b *testing.B) {
	g := newGenerator(5)
	s := g.sample()
	s.Source, s.Time = SourceRemote, time.Unix(1e9, 0)
	w := NewWriter(io.Discard)
	write(b, w, &Recording{Process: g.process()})
	b.ReportAllocs()
	for b.Loop() {
		s.Time = s.Time.Add(100 * time.Millisecond)
		if err := w.Sample(&s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadAll(b *testing.B) {
	file := encode(b, newGenerator(5).recording(1000))
	b.SetBytes(int64(len(expand(b, file))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadAll(bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
}
