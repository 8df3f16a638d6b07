package cli

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// predictOf is the prediction of a fake twin.
func predictOf(t *testing.T, tw *fakeTwin, args ...string) *prediction {
	t.Helper()
	opt := predictOptions{observeOptions: observeOptions{command: "predict"}}
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "gogc":
			opt.gogc = args[i+1]
		case "limits":
			opt.limits = args[i+1]
		case "container":
			opt.container = args[i+1]
		case "procs":
			opt.procs = 4
		case "grid":
			opt.grid = true
		}
	}
	a, err := opt.parse()
	if err != nil {
		t.Fatal(err)
	}
	rec := &record.Recording{Process: proc(4123, "orders")}
	return newPrediction(tw, rec, rec.Process.GoVersion, a)
}

func TestPredictText(t *testing.T) {
	uncertain := newFakeTwin()
	uncertain.missing = []string{"The recording holds no CPU time of the kernel: GC CPU is less sure for it."}
	free := newFakeTwin()
	free.now.ContainerLimitBytes = 0
	free.now.GOGCPercent = 73
	tight := newFakeTwin()
	tight.now.ContainerLimitBytes = 120 * mib
	for _, tc := range []struct {
		name       string
		twin       *fakeTwin
		args       []string
		parameters bool
	}{
		{"default", newFakeTwin(), nil, true},
		{"no-container", free, nil, false},
		{"asked", uncertain, []string{"gogc", "50,100,off", "limits", "off,110MiB,256MiB"}, false},
		{"container", newFakeTwin(), []string{"gogc", "100,200", "container", "300MiB", "procs", "4"}, false},
		{"grid", newFakeTwin(), []string{"grid", "yes"}, false},
		{"none-lives", tight, []string{"gogc", "100"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			d := predictOf(t, tc.twin, tc.args...)
			if err := d.print(f.Env, tc.parameters); err != nil {
				t.Fatal(err)
			}
			at80(t, f.out.String())
			golden(t, "predict/"+tc.name+".txt", f.out.String())
			for _, l := range strings.Split(f.out.String(), "\n") {
				if strings.TrimRight(l, " ") != l {
					t.Errorf("white space at the end of %q", l)
				}
			}
		})
	}
}

func TestPredictSettings(t *testing.T) {
	tw := newFakeTwin()
	count := func(d *prediction, is func(*predicted) bool) int {
		n := 0
		for i := range d.Predictions {
			if is(&d.Predictions[i]) {
				n++
			}
		}
		return n
	}
	now := func(p *predicted) bool { return p.Now }
	for _, tc := range []struct {
		name string
		args []string
		n    int
	}{
		{"a small set, with the current one in it", nil, 9},
		{"GOGC alone, and the current one", []string{"gogc", "50,off"}, 3},
		{"the current one among them", []string{"gogc", "50,100"}, 2},
		{"twice the same", []string{"gogc", "50,50,100"}, 2},
		{"every pair", []string{"gogc", "50,100", "limits", "off,1GiB"}, 4},
		{"limits alone", []string{"limits", "1GiB,2GiB"}, 3},
	} {
		d := predictOf(t, tw, tc.args...)
		if len(d.Predictions) != tc.n || count(d, now) != 1 {
			t.Errorf("%s: %d predictions, %d of them now; want %d and 1", tc.name, len(d.Predictions), count(d, now), tc.n)
		}
	}
	grid := predictOf(t, tw, "grid", "yes")
	if n := len(grid.Predictions); n < 380 || n > 401 {
		t.Errorf("a grid of %d", n)
	}
	if best := grid.Best(); best == nil || best.Fails != nil || !best.Efficient || best.Forecast.RSSPeakBytes.Estimate > 512*mib {
		t.Errorf("the best of the grid is %+v", best)
	}
	if n := count(grid, func(p *predicted) bool { return p.Efficient && p.Fails != nil }); n > 0 {
		t.Errorf("%d settings are efficient and fail", n)
	}
}

// TestPredictWithoutRSS: a source such as /metrics may not tell what is resident.
func TestPredictWithoutRSS(t *testing.T) {
	tw := newFakeTwin()
	tw.blind = true
	for _, args := range [][]string{nil, {"grid", "yes"}} {
		d := predictOf(t, tw, args...)
		for i := range d.Predictions {
			if s := d.Predictions[i].Forecast.Settings; float64(s.GOMEMLIMITBytes) < tw.live {
				t.Fatalf("%q: asked about a GOMEMLIMIT of %d", args, s.GOMEMLIMITBytes)
			}
		}
		if d.Best() != nil {
			t.Errorf("%q: %+v is best in a memory that is not known", args, d.Best())
		}
		if text := strings.Join(d.conclusions(), "\n"); strings.Contains(text, "killed") || !strings.Contains(text, "RSS is not known") {
			t.Errorf("%q: concludes %s", args, text)
		}
		if err := writeJSON(io.Discard, d); err != nil {
			t.Error(err)
		}
	}
}

func TestPredictUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "takes one process"},
		{"1 2", "takes one process"},
		{"1 --gogc 50,x", `"x" is no GOGC`},
		{"1 --gogc 0", `"0" is no GOGC`},
		{"1 --gogc 50,", `"" is no GOGC`},
		{"1 --memory-limit 512M", "without a unit that is sure"},
		{"1 --memory-limit 0MiB", "collect without end"},
		{"1 --container-limit lots", "no size"},
		{"1 --gomaxprocs -1", "no number of processors"},
		{"1 --grid --gogc 50", "--grid chooses"},
		{"1 --check x --gogc 50", "--check takes"},
		{"1 -o - --json", "not both"},
		{"1 --for -1s", "must not be negative"},
	} {
		f := newFakeEnv()
		f.run(t, ExitCouldNotRun, append([]string{"predict"}, strings.Fields(tc.args)...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), tc.want) || !strings.Contains(f.err.String(), "hint: ") {
			t.Errorf("%s: stdout %q, stderr %q", tc.args, &f.out, &f.err)
		}
	}
}

func TestPredictShow(t *testing.T) {
	f := newFakeEnv()
	svg := filepath.Join(t.TempDir(), "front.svg")
	if err := predictOf(t, newFakeTwin()).show(f.Env, predictOptions{plot: svg, json: true}); err != nil {
		t.Fatal(err)
	}
	var doc prediction
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != schemaPredict || doc.File == nil || *doc.File != svg || len(doc.Predictions) != 9 || *doc.Predictions[0].GCCPURatio.Estimate <= 0 {
		t.Errorf("document %+v", doc)
	}
	b, err := os.ReadFile(svg)
	if err != nil || !strings.Contains(string(b), "What other settings of orders would do") || !strings.Contains(string(b), "limit 512Mi") {
		t.Errorf("plot %v %.200s", err, b)
	}
	f.out.Reset()
	if err := predictOf(t, newFakeTwin()).show(f.Env, predictOptions{plot: "-"}); err != nil || !strings.HasPrefix(f.out.String(), "<svg") {
		t.Errorf("stdout %.100s, error %v", &f.out, err)
	}
	if err := predictOf(t, newFakeTwin()).show(f.Env, predictOptions{plot: filepath.Join(svg, "x")}); err == nil || !strings.HasPrefix(err.Error(), "saving the plot: ") {
		t.Errorf("error %v", err)
	}
}

func TestCheckText(t *testing.T) {
	tw := newFakeTwin()
	s := tw.now
	s.GOGCPercent = 200
	good := outcomeOf(tw.Forecast(s))
	bad := good
	bad.RSSPeakBytes *= 1.2
	bad.GCCPURatio = math.NaN()
	none := pacer.Outcome{Settings: s}
	for _, p := range []*float64{&none.CyclesPerSecond, &none.GCCPUCores, &none.GCCPURatio, &none.AssistRatio, &none.PauseRatio,
		&none.HeapP50Bytes, &none.HeapP90Bytes, &none.HeapPeakBytes, &none.RSSP50Bytes, &none.RSSP90Bytes, &none.RSSPeakBytes} {
		*p = math.NaN()
	}
	for _, tc := range []struct {
		name    string
		outcome pacer.Outcome
		inside  bool
	}{{"inside", good, true}, {"outside", bad, false}, {"nothing", none, true}} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			d := newCheck(tw, &record.Recording{Process: proc(4123, "orders")}, tc.outcome)
			if d.Inside != tc.inside {
				t.Errorf("inside: %v", d.Inside)
			}
			if err := d.print(f.Env, false); err != nil {
				t.Fatal(err)
			}
			at80(t, f.out.String())
			golden(t, "predict/check-"+tc.name+".txt", f.out.String())
		})
	}
}

// outcomeOf is what would be measured if a forecast were right to the last digit.
func outcomeOf(f pacer.Forecast) pacer.Outcome {
	return pacer.Outcome{Settings: f.Settings, Span: f.Span, CyclesPerSecond: 1.02 * f.CyclesPerSecond.Estimate, GCCPUCores: f.GCCPUCores.Estimate, GCCPURatio: 0.95 * f.GCCPURatio.Estimate,
		AssistRatio: f.AssistRatio.Estimate, PauseRatio: f.PauseRatio.Estimate, HeapP50Bytes: f.HeapP50Bytes.Estimate, HeapP90Bytes: f.HeapP90Bytes.Estimate,
		HeapPeakBytes: f.HeapPeakBytes.Estimate, RSSP50Bytes: f.RSSP50Bytes.Estimate, RSSP90Bytes: f.RSSP90Bytes.Estimate, RSSPeakBytes: 1.01 * f.RSSPeakBytes.Estimate}
}

// A recording that no twin can be made of says what to do instead.
func TestUnfit(t *testing.T) {
	rec := recordingOf(proc(4123, "server"), ruletest.Server{})
	opt := observeOptions{command: "predict"}
	for _, tc := range []struct {
		err   error
		named string
		code  ExitCode
		want  string
	}{
		{&pacer.ShortError{Reason: "1 GC cycle, 4 are needed", Record: 90e9}, "4123", ExitInconclusive, "heapwright predict 4123 --for 1m30s"},
		{&pacer.ShortError{Reason: "1 GC cycle, 4 are needed", Record: 90e9}, "x.hwrec", ExitInconclusive, "heapwright record PID --for 1m30s"},
		{&pacer.ShortError{Reason: "it is idle"}, "4123", ExitInconclusive, "while it does the work"},
		{&pacer.UnfitError{Reason: "no RSS"}, "x.hwrec", ExitCouldNotRun, "heapwright record PID"},
		{&pacer.UnsupportedError{GoVersion: "go1.99"}, "x.hwrec", ExitCouldNotRun, "heapwright version"},
	} {
		f := newFakeEnv()
		if code := finish(f.Env, unfit(tc.err, rec, opt, tc.named)); code != tc.code || !strings.Contains(f.err.String(), "hint: ") || !strings.Contains(f.err.String(), tc.want) {
			t.Errorf("%v: exit code %d, stderr %s", tc.err, code, &f.err)
		}
	}
}

func TestQuantityTexts(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{intervalText(pacer.Estimate{Estimate: 212 * mib, Low: 205 * mib, High: 220 * mib}, bytesUnit), "212Mi [205, 220]"},
		{intervalText(pacer.Estimate{Estimate: 1000 * mib, Low: 900 * mib, High: 1100 * mib}, bytesUnit), "1.0Gi [900Mi, 1.1]"},
		{intervalText(pacer.Estimate{Estimate: 0.123, Low: 0.1, High: 0.14}, percentUnit), "12% [10, 14]"},
		{intervalText(pacer.Estimate{Estimate: 0.0612, Low: 0.0512, High: 0.2}, percentUnit), "6.1% [5.1, 20]"},
		{intervalText(pacer.Estimate{Estimate: 3, Low: 3, High: 3}, rateUnit), "3.0"},
		{intervalText(pacer.Estimate{Estimate: math.NaN()}, rateUnit), "-"},
		{intervalText(pacer.Estimate{Estimate: 3, Low: math.Inf(-1), High: 4}, rateUnit), "3.0"},
		{significant(0), "0"}, {significant(0.00123), "0.0012"}, {significant(0.0123), "0.012"}, {significant(0.123), "0.12"}, {significant(12.34), "12.3"}, {significant(1234), "1234"},
		{limitText(math.MaxInt64), "off"}, {limitText(512 * mib), "512MiB"}, {limitText(3 << 29), "1536MiB"}, {limitText(1000), "1000B"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestNotes(t *testing.T) {
	row := func(notes ...string) *predicted { return &predicted{Outlook: forecasted{Notes: notes}} }
	n := newNotes([]*predicted{
		row("it needs 15% more time", "one 1 of 2", "all"), row("it needs 5.5% more time", "one 2 of 3", "all"), row("plain", "it needs 15% more time", "all"),
	}, []string{"all"})
	for note, want := range map[string]string{
		"it needs 15% more time": "it needs 5.5 to 15% more time", "it needs 5.5% more time": "it needs 5.5 to 15% more time",
		"one 1 of 2": "one 1 of 2", "plain": "plain", "all": "",
	} {
		if got := n.text(note); got != want {
			t.Errorf("%q becomes %q, want %q", note, got, want)
		}
	}
}

func TestMarks(t *testing.T) {
	for mark, want := range map[string]int{"¹": 1, "⁴": 4, "¹⁰": 10, "²³": 23} {
		if got := digits(mark); got != want {
			t.Errorf("%s is %d", mark, got)
		}
	}
	if got := marked(marked("storm", "¹"), "²"); got != "storm¹ ²" {
		t.Errorf("got %q", got)
	}
}
