package diagnose

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/record"
)

func TestEveryRuleIsRegistered(t *testing.T) {
	entries, err := os.ReadDir("rules")
	if err != nil {
		t.Fatal(err)
	}
	var dirs, names []string
	for _, e := range entries {
		dirs = append(dirs, e.Name())
	}
	for _, r := range rules {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	if !slices.Equal(dirs, names) {
		t.Errorf("directories %v\nrules       %v", dirs, names)
	}
}

func TestRulesAreWhole(t *testing.T) {
	form := regexp.MustCompile(`^HW[1-49]0\d\d$`)
	for i, r := range rules {
		if !form.MatchString(r.ID) {
			t.Errorf("ID %q has another form", r.ID)
		}
		if i > 0 && rules[i-1].ID >= r.ID {
			t.Errorf("%s does not come after %s", r.ID, rules[i-1].ID)
		}
		v := reflect.ValueOf(*r)
		for _, f := range []string{"Name", "Title", "What", "Why", "How", "Remedy", "FalseAlarms", "Since", "Check", "Severities"} {
			if v.FieldByName(f).IsZero() {
				t.Errorf("%s has no %s", r.ID, f)
			}
		}
		if !slices.IsSorted(r.Severities) {
			t.Errorf("%s: severities %v do not rise", r.ID, r.Severities)
		}
		if _, err := os.Stat(filepath.Join("rules", r.Name, "testdata")); err != nil {
			t.Errorf("%s has no golden findings: %v", r.ID, err)
		}
	}
}

func TestPagesAreFresh(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "docs", "findings")
	pages := Pages(exectrace.Pages()...)
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v; run go generate", err)
		} else if string(got) != want {
			t.Errorf("%s is stale; run go generate", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := pages[e.Name()]; !ok {
			t.Errorf("docs/findings/%s belongs to no rule", e.Name())
		}
	}
}

func TestExplain(t *testing.T) {
	for _, name := range []string{"HW1003", "hw1003", "limitnearlive", "LimitNearLive"} {
		text, ok := Explain(name)
		if !ok || !strings.HasPrefix(text, "HW1003 limitnearlive: ") {
			t.Errorf("Explain(%q) = %q, %v", name, text, ok)
		}
		for _, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("a line of %d columns: %q", len(line), line)
			}
		}
	}
	for name, want := range map[string]string{"HW103": "HW1003", "limitnearlife": "HW1003", "hw40044": "HW4004", "gorutines": "HW3002"} {
		if _, ok := Explain(name); ok {
			t.Errorf("Explain(%q) found something", name)
		}
		if id, ok := Suggest(name); !ok || (id != want && name != "HW103") {
			t.Errorf("Suggest(%q) = %q, %v, want %s", name, id, ok, want)
		}
	}
	for _, name := range []string{"", "x", "somethingelse", strings.Repeat("HW1003", 100)} {
		if id, ok := Suggest(name); ok {
			t.Errorf("Suggest(%q) = %q", name, id)
		}
	}
}

// TestHealthyServers is the promise: nothing above info about a healthy server.
func TestHealthyServers(t *testing.T) {
	for name, rec := range ruletest.Healthy() {
		for _, f := range Run(rec, Options{}) {
			if f.Severity > Info {
				t.Errorf("%s: %s %s: %s\n%s", name, f.Severity, f.ID, f.Title, f.Cause)
			}
		}
	}
}

// TestHealthyCourses: services that do what healthy ones do, of many sizes, get none of
// the findings of what somebody did to them, and of a jump of the live heap only where
// a cache has filled or clients have come; nothing above info.
func TestHealthyCourses(t *testing.T) {
	const courses = 60
	rng := rand.New(rand.NewPCG(23, 29))
	jumps := map[string]int{}
	for i := range courses {
		base := float64(ruletest.MiB) * math.Exp(2+3*rng.Float64()) // 7 to 150 MiB
		swing, period := 0.4*rng.Float64(), 2+20*rng.Float64()
		fill := 5 + 60*rng.Float64()
		noise := make([]float64, 4096)
		for k := range noise {
			noise[k] = 0.1 * rng.NormFloat64()
		}
		noisy := func(t float64) float64 { return 1 + noise[int(t*100)%len(noise)] }
		names := []string{"level", "waves", "saw", "requests", "cache", "clients"}
		name := names[i%len(names)]
		arrive := 5 + 20*rng.Float64()
		sv := ruletest.Server{
			Seconds: 60, Age: 30 + 600*rng.Float64(), Alloc: ruletest.Const(base * (0.3 + 3*rng.Float64())), Container: uint64(base*6) + 64*ruletest.MiB, Quota: 2,
			Live: map[string]func(float64) float64{
				"level":    func(t float64) float64 { return base * noisy(t) },
				"waves":    func(t float64) float64 { return base * (1 + swing*math.Sin(t*2*math.Pi/period)) },
				"saw":      func(t float64) float64 { return base * (0.6 + swing*math.Mod(t, period)/period) },
				"requests": func(t float64) float64 { return base * (0.7 + swing*max(0, noisy(t)-1)*10) },
				"cache":    func(t float64) float64 { return base * (1.2 - math.Exp(-t/fill)) },
				"clients":  func(t float64) float64 { return base * (0.3 + 0.7*min(1, max(0, (t-arrive)/3))) },
			}[name],
		}
		if name == "clients" {
			sv.Goroutines = func(t float64) float64 { return 30 + 1000*min(1, max(0, (t-arrive)/3)) }
		}
		for _, f := range Run(sv.Recording(), Options{}) {
			switch f.ID {
			case "HW3008":
				jumps[name]++
				if f.Severity > Info || name == "clients" && f.Confidence != rule.Low || name != "cache" && name != "clients" {
					t.Errorf("%s %d: %s %s: %s", name, i, f.Severity, f.Confidence, f.Cause)
				}
			case "HW1010", "HW3009", "HW3010", "HW3011", "HW4005", "HW4006":
				t.Errorf("%s %d: %s: %s", name, i, f.ID, f.Cause)
			}
		}
	}
	t.Logf("the live heap has jumped in %v of %d courses of each kind", jumps, courses/6)
}

func TestRunSortsAndChooses(t *testing.T) {
	rec := ruletest.Server{GOGC: -1, Container: 512 * ruletest.MiB, GoEnv: map[string]string{"GODEBUG": "gctrce=1"}, Seconds: 4}.Recording()
	var got []string
	for _, f := range Run(rec, Options{}) {
		got = append(got, f.ID+" "+f.Severity.String())
	}
	want := []string{"HW1004 critical", "HW1008 warning", "HW9001 info"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r, _ := Find("godebug")
	if fs := Run(rec, Options{Rules: []*Rule{r}}); len(fs) != 1 || fs[0].ID != "HW1008" {
		t.Errorf("one rule: %v", fs)
	}
	if worst, ok := Worst(Run(rec, Options{})); worst != Critical || !ok {
		t.Errorf("Worst = %v, %v", worst, ok)
	}
	if worst, ok := Worst(nil); worst != Info || ok {
		t.Errorf("Worst(nil) = %v, %v", worst, ok)
	}
}

func TestJSONContract(t *testing.T) {
	rec := ruletest.Server{GoEnv: map[string]string{"GODEBUG": "gctrce=1"}}.Recording()
	b, err := json.Marshal(Run(rec, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var docs []map[string]any
	if err := json.Unmarshal(b, &docs); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "severity", "confidence", "confidence_reason", "title", "evidence", "cause", "remedy"} {
		if _, ok := docs[0][key]; !ok {
			t.Errorf("the finding has no %q: %s", key, b)
		}
	}
	if docs[0]["severity"] != "warning" || docs[0]["confidence"] != "high" {
		t.Errorf("severity %v, confidence %v", docs[0]["severity"], docs[0]["confidence"])
	}
	if b, _ := json.Marshal(Run(&record.Recording{}, Options{Rules: []*Rule{}})); string(b) != "[]" {
		t.Errorf("no findings are %s, want []", b)
	}
	var s Severity
	if err := s.UnmarshalText([]byte("critical")); err != nil || s != Critical {
		t.Errorf("critical reads as %v, %v", s, err)
	}
	if _, err := ParseSeverity("notice"); err == nil {
		t.Error("notice is read as a severity")
	}
}

func TestUndecidable(t *testing.T) {
	poor := ruletest.Bare(ruletest.Server{}.Recording(), record.SourcePrometheus, record.FieldRSSBytes, record.FieldGOMAXPROCS)
	got := make(map[string][]string)
	for _, u := range Undecidable(poor) {
		got[u.ID] = u.Missing
	}
	if want := []string{"heap_marked_bytes"}; !slices.Equal(got["HW3001"], want) {
		t.Errorf("HW3001 misses %v, want %v", got["HW3001"], want)
	}
	if _, ok := got["HW1007"]; ok {
		t.Error("HW1007 has all that it needs")
	}
	full := ruletest.Server{Container: ruletest.GiB}.Recording()
	if u := Undecidable(full); len(u) > 0 {
		t.Errorf("a full recording leaves undecided: %v", u)
	}
}

// acceptable checks what must hold for any recording whatever.
func acceptable(t *testing.T, rec *record.Recording) {
	t.Helper()
	findings := Run(rec, Options{})
	Undecidable(rec)
	for _, f := range findings {
		for _, e := range f.Evidence {
			if !e.Finite() || e.Name == "" || e.Unit == "" || e.Source == "" || e.Text == "" {
				t.Fatalf("%s: evidence %+v", f.ID, e)
			}
		}
		text := f.Title + f.Cause + f.Remedy + f.ConfidenceReason
		for _, s := range f.Sites {
			text += s.Text
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf ") || strings.Contains(text, "+Inf") || strings.Contains(text, "%!") {
			t.Fatalf("%s: %s", f.ID, text)
		}
		if len(f.Evidence) == 0 || f.Title == "" || f.Cause == "" || f.Remedy == "" || f.Confidence == "" {
			t.Fatalf("%s is not whole: %+v", f.ID, f)
		}
	}
	if _, err := json.Marshal(findings); err != nil {
		t.Fatal(err)
	}
}

// TestEveryFieldMissing takes away each field by itself, from recordings that
// provoke much.
func TestEveryFieldMissing(t *testing.T) {
	sick := ruletest.Server{
		Live: ruletest.Ramp(50*ruletest.MiB, 200*ruletest.MiB, 30), GOGC: 25, Limit: 300 * ruletest.MiB, Container: 256 * ruletest.MiB,
		Quota: 0.5, Throttled: 0.5, Procs: 8, AssistPart: 0.5, LargePart: 0.9, Outside: ruletest.Const(200 * ruletest.MiB),
		Stacks: ruletest.Const(300 * ruletest.MiB), Goroutines: ruletest.Ramp(10, 900, 30), ForcedEvery: 1,
		Pause:     func(int) time.Duration { return 30 * time.Millisecond },
		Stopping:  func(int) time.Duration { return 30 * time.Millisecond },
		SchedWait: func(int) time.Duration { return time.Second },
	}
	whole := sick.Recording()
	if n := len(Run(whole, Options{})); n < 10 {
		t.Errorf("%d findings only: the recording does not test much", n)
	}
	for f := record.Field(0); f < record.NumFields; f++ {
		less := *whole
		less.Samples = slices.Clone(whole.Samples)
		acceptable(t, ruletest.Without(&less, f))
	}
}

// hostile makes a recording of random values, many of them extreme.
func hostile(rng *rand.Rand) *record.Recording {
	ints := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt32, 4096, 1 << 20, 1 << 30, 1 << 40, 100}
	floats := []float64{0, 1, -1, 0.5, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e9}
	strs := []string{"", "main.f", "runtime.GC", "waiting", "running", "runnable", "chan send", "IO wait", "sync.Mutex.Lock", "\x00\xff", "gctrce=1,=,,=1", "off", "1e9", "go1.26.8", "go1.", "go1.99999999999999999999", "heap", "lost_cycles", "a.b/c[d.e/f.G].h", strings.Repeat("x", 300)}
	times := []time.Time{{}, ruletest.Epoch, time.Unix(1<<62, 0), time.Unix(-1<<40, 5)}
	var fill func(v reflect.Value, depth int)
	fill = func(v reflect.Value, depth int) {
		switch v.Kind() {
		case reflect.Int, reflect.Int64:
			v.SetInt(ints[rng.IntN(len(ints))] + rng.Int64N(3) - 1)
		case reflect.Uint64:
			v.SetUint(uint64(ints[rng.IntN(len(ints))]) + rng.Uint64N(1<<20))
		case reflect.Float64:
			v.SetFloat(floats[rng.IntN(len(floats))])
		case reflect.Bool:
			v.SetBool(rng.IntN(2) == 0)
		case reflect.String:
			v.SetString(strs[rng.IntN(len(strs))])
		case reflect.Map:
			m := reflect.MakeMap(v.Type())
			for _, k := range []string{"GODEBUG", "GOGC", "GOMAXPROCS"} {
				m.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(strs[rng.IntN(len(strs))]))
			}
			v.Set(m)
		case reflect.Slice:
			n := rng.IntN(4)
			if depth == 1 {
				n = rng.IntN(40)
			}
			s := reflect.MakeSlice(v.Type(), n, n)
			for i := range n {
				fill(s.Index(i), depth+1)
			}
			v.Set(s)
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i), depth+1)
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				at := times[rng.IntN(len(times))]
				if rng.IntN(3) > 0 {
					at = ruletest.Epoch.Add(time.Duration(rng.Int64N(int64(time.Minute))))
				}
				v.Set(reflect.ValueOf(at))
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i), depth+1)
			}
		}
	}
	rec := &record.Recording{}
	fill(reflect.ValueOf(rec).Elem(), 0)
	for i := range rec.Samples {
		for j := range rec.Samples[i].Has {
			rec.Samples[i].Has[j] = rng.Uint64() | rng.Uint64()
		}
	}
	if rng.IntN(2) == 0 {
		slices.SortFunc(rec.Samples, func(a, b record.Sample) int { return a.Time.Compare(b.Time) })
	}
	return rec
}

func TestHostileRecordings(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 13))
	for range 120 {
		acceptable(t, hostile(rng))
	}
	acceptable(t, nil)
	acceptable(t, &record.Recording{})
}

// TestDisturbedRecordings spoils single values of recordings that are sensible
// otherwise: these get further into the rules than pure noise.
func TestDisturbedRecordings(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 19))
	for range 60 {
		rec := ruletest.Server{Seconds: 12, Hz: 4, Live: ruletest.Ramp(10*ruletest.MiB, 300*ruletest.MiB, 12), Container: 512 * ruletest.MiB, Limit: 600 * ruletest.MiB}.Recording()
		bad := hostile(rng)
		for range 1 + rng.IntN(6) {
			i := rng.IntN(len(rec.Samples))
			if len(bad.Samples) > 0 {
				from := bad.Samples[rng.IntN(len(bad.Samples))]
				// One field of the sample, or the time, or all.
				n := reflect.TypeFor[record.Sample]().NumField()
				k := rng.IntN(n)
				if rng.IntN(10) == 0 {
					rec.Samples[i] = from
				} else {
					reflect.ValueOf(&rec.Samples[i]).Elem().Field(k).Set(reflect.ValueOf(from).Field(k))
				}
			}
			if len(bad.Cycles) > 0 && len(rec.Cycles) > 0 {
				rec.Cycles[rng.IntN(len(rec.Cycles))] = bad.Cycles[rng.IntN(len(bad.Cycles))]
			}
		}
		rec.Goroutines, rec.Profiles, rec.Process = bad.Goroutines, bad.Profiles, bad.Process
		acceptable(t, rec)
	}
}

// FuzzRun diagnoses whatever the recording reader accepts. The input is the text
// of a recording without its compression, which no fuzzer would get past.
func FuzzRun(f *testing.F) {
	for _, sv := range []ruletest.Server{
		{Seconds: 2},
		{Seconds: 3, GOGC: -1, Container: ruletest.GiB, GoEnv: map[string]string{"GODEBUG": "gctrce=1"}},
	} {
		rec := sv.Recording()
		var b bytes.Buffer
		w := record.NewWriter(&b)
		if err := w.Process(rec.Process); err != nil {
			f.Fatal(err)
		}
		for i := range rec.Samples[:5] {
			if err := w.Sample(&rec.Samples[i]); err != nil {
				f.Fatal(err)
			}
		}
		for i := range rec.Cycles[:min(3, len(rec.Cycles))] {
			if err := w.Cycle(&rec.Cycles[i]); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		z, err := gzip.NewReader(&b)
		if err != nil {
			f.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(text)
		z.Close()
		recs, err := record.ReadAll(&b)
		if err != nil {
			return
		}
		for _, rec := range recs {
			acceptable(t, rec)
		}
	})
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{rule.FormatBytes(0), "0 B"}, {rule.FormatBytes(1023), "1023 B"}, {rule.FormatBytes(1024), "1.0 KiB"},
		{rule.FormatBytes(1<<20 - 1), "1.0 MiB"}, {rule.FormatBytes(-5 << 20), "-5.0 MiB"}, {rule.FormatBytes(1 << 62), "4.0 EiB"}, {rule.FormatBytes(1e30), "867361737988.4 EiB"},
		{rule.FormatSeconds(0), "0 s"}, {rule.FormatSeconds(5e-9), "5 ns"}, {rule.FormatSeconds(0.0123), "12.3 ms"}, {rule.FormatSeconds(90), "90 s"},
		{rule.FormatSeconds(7200), "2 h"}, {rule.FormatSeconds(1e6), "12 days"},
		{rule.FormatPercent(0.0123), "1.2%"}, {rule.FormatPercent(0.5), "50%"},
		{rule.MemLimit(460.9 * (1 << 20)), "460MiB"}, {rule.MemLimit(-1), "1MiB"}, {rule.MemLimitUp(460.1 * (1 << 20)), "461MiB"},
		{rule.Quote("a\x1b[0m"), `"a\x1b[0m"`}, {rule.Quote(strings.Repeat("y", 99)), `"` + strings.Repeat("y", 40) + `..."`},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"gctrce", "gctrace", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}} {
		if got := rule.EditDistance(c.a, c.b); got != c.want {
			t.Errorf("EditDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
