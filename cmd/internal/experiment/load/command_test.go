package load

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func shell(script string) Target { return Target{Command: []string{"sh", "-c", script}} }

func commandConfig(seconds float64, targets ...Target) Config {
	c := config(100, targets...)
	c.Seconds, c.Timeout = seconds, 200*time.Millisecond
	return c
}

const twoRequests = `echo '{"schema":"heapwright.load/1","requests":3,"errors":1,"seconds":{seconds},"latencies_us":[1000,3000],"slip_p99_seconds":0.001,"first_error":"a\u001bb"}'`

func TestCommand(t *testing.T) {
	leftovers(t)
	dir := t.TempDir()
	// The warm-up waits for ever, in a process that it has started.
	script := `echo {phase} {rate} {seconds} {seed} >> ` + dir + `/log$0
		if [ {phase} = warmup ]; then sleep 1000 & echo $! > ` + dir + `/warm$0.tmp; mv ` + dir + `/warm$0.tmp ` + dir + `/warm$0; wait; fi
		sleep 0.2
		` + twoRequests
	var targets []Target
	for i := range 2 {
		targets = append(targets, Target{Command: []string{"sh", "-c", script, strconv.Itoa(i)}})
	}
	g, err := Start(t.Context(), commandConfig(0.25, targets...))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var warm []string
	for i := range 2 {
		warm = append(warm, strings.TrimSpace(await(t, fmt.Sprintf("%s/warm%d", dir, i))))
	}
	if err := g.Measure(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range warm {
		gone(t, pid)
	}
	reports, err := g.Stop()
	if err != nil {
		t.Fatal(err)
	}
	seeds := map[string]bool{}
	for i, r := range reports {
		if r.Requests != 3 || r.Errors != 1 || r.Answered != 2 || r.Seconds != 0.25 || r.Throughput() != 8 || r.Latency.TotalCount() != 2 || r.Latency.ValueAtPercentile(50) != 1000 {
			t.Errorf("%+v", r)
		}
		if a := r.Audit; a.Offered != 12 || a.SlipP99 != 0.001 || a.FirstError != "a\ufffdb" || a.CPUSeconds <= 0 {
			t.Errorf("audit %+v", a)
		}
		lines := strings.Fields(await(t, fmt.Sprintf("%s/log%d", dir, i)))
		if len(lines) != 8 || !slices.Equal(slices.Concat(lines[:3], lines[4:7]), []string{"warmup", "100", "3600", "measure", "100", "0.25"}) || lines[3] != lines[7] {
			t.Errorf("was told %q", lines)
		}
		if n, err := strconv.ParseInt(lines[3], 10, 32); err != nil || n < 0 {
			t.Errorf("seed %s", lines[3])
		}
		seeds[lines[3]] = true
	}
	if len(seeds) != 2 {
		t.Errorf("both targets have the seed %v", seeds)
	}
}

// await reads a file that another process writes, when it is there.
func await(t *testing.T, path string) string {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil {
			return string(b)
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal(err)
		}
	}
}

// gone waits until a process has ended. Nobody may have taken note of its end yet.
func gone(t *testing.T, pid string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("process %s still runs: %s", pid, b)
		}
	}
}

func TestCommandErrors(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	for _, tt := range []struct {
		name, script string
		at           string // which call fails
		want         string
	}{
		{"not there", "", "start", "starting the load: "},
		{"warm-up fails", "echo no luck >&2; exit 3", "measure", "the warm-up command sh failed (exit status 3): no luck"},
		{"fails", "[ {phase} = warmup ] || exit 3", "stop", "the load command sh failed (exit status 3): it printed nothing to stderr"},
		{"says nothing", "true", "stop", "sh: it printed nothing to stdout"},
		{"says several lines", "echo a; echo b", "stop", "several lines"},
		{"says garbage", "echo a", "stop", "is not as it should be"},
		{"says too much", "[ {phase} = warmup ] || exec yes", "stop", "sh printed more than 32 MiB to stdout"},
		{"never ends", "echo $$ > " + pid + "; exec sleep 1000", "stop", "sh still runs 10.3s after it was started for 0.1 seconds"},
		{"leaves something behind", "(sleep 1000 & echo $! > " + pid + "); " + strings.ReplaceAll(twoRequests, "{seconds}", "0.1"), "", ""},
		{"ends at once", strings.ReplaceAll(twoRequests, "{seconds}", "0.01"), "stop", "it says that it sent for 0.01 seconds, and was asked for 0.1"},
		{"runs longer than it ran", strings.ReplaceAll(twoRequests, "{seconds}", "1000"), "stop", "it says that it sent for 1000 seconds, and ran for "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leftovers(t)
			target := shell(tt.script)
			if tt.script == "" {
				target = Target{Command: []string{filepath.Join(t.TempDir(), "none")}}
			}
			c := commandConfig(0.1, target)
			at := "start"
			g, err := Start(t.Context(), c)
			if err == nil {
				defer g.Close()
				if tt.at == "measure" {
					<-g.by.(*commands).started()[0].done
				}
				at, err = "measure", g.Measure()
			}
			if err == nil {
				if tt.name == "never ends" {
					// Without the wait: as if it had been started long ago.
					g.by.(*commands).started()[0].patient = time.Now()
				}
				at = "stop"
				_, err = g.Stop()
			}
			if tt.at == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || at != tt.at || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("at %s: %v; want at %s: %s", at, err, tt.at, tt.want)
			}
			if strings.Contains(tt.script, pid) {
				g.Close()
				if b, err := os.ReadFile(pid); err == nil { // it may not have come that far
					gone(t, strings.TrimSpace(string(b)))
				}
				os.Remove(pid)
			}
		})
	}
}

func encoded(t testing.TB, low, high int64, digits int, values ...int64) string {
	t.Helper()
	h := hdrhistogram.New(low, high, digits)
	for _, v := range values {
		if err := h.RecordValue(v); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       []int64 // latencies: count, p50, max
		err        string
	}{
		{"latencies", `{"schema":"heapwright.load/1","requests":2,"errors":0,"seconds":1,"latencies_us":[10,20.7]}`, []int64{2, 10, 20}, ""},
		{"histogram", `{"schema":"heapwright.load/1","requests":3,"errors":0,"seconds":1,"latency_us_histogram":"` + encoded(t, 1, 3_600_000_000, 3, 10, 11, 12) + `"}`, []int64{3, 11, 12}, ""},
		{"coarse histogram", `{"schema":"heapwright.load/1","requests":3,"errors":1,"seconds":1,"latency_us_histogram":"` + encoded(t, 1, 1<<40, 1, 10, 11) + `"}`, []int64{2, 10, 11}, ""},
		{"beyond a minute", `{"schema":"heapwright.load/1","requests":2,"errors":0,"seconds":1,"latencies_us":[1e300,61e6]}`, []int64{2, 60030975, 60030975}, ""},
		{"histogram beyond a minute", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latency_us_histogram":"` + encoded(t, 1, 1<<40, 3, 1<<39) + `"}`, []int64{1, 60030975, 60030975}, ""},
		{"nothing", `{"schema":"heapwright.load/1","requests":0,"errors":0,"seconds":1,"latencies_us":[]}`, []int64{0, 0, 0}, ""},
		{"empty", "\n", nil, "nothing to stdout"},
		{"no schema", `{"requests":0,"errors":0,"seconds":1,"latencies_us":[]}`, nil, `is "", not`},
		{"another schema", `{"schema":"x\u001b","requests":0,"errors":0,"seconds":1,"latencies_us":[]}`, nil, `is "x\x1b", not`},
		{"unknown key", `{"schema":"heapwright.load/1","latency":1}`, nil, `unknown field "latency"`},
		{"more", `{"schema":"heapwright.load/1","requests":0,"errors":0,"seconds":1,"latencies_us":[]} {}`, nil, "something follows"},
		{"no errors", `{"schema":"heapwright.load/1","requests":1,"seconds":1,"latencies_us":[1]}`, nil, "lacks requests, errors or seconds"},
		{"errors", `{"schema":"heapwright.load/1","requests":1,"errors":2,"seconds":1,"latencies_us":[1]}`, nil, "more errors (2) than requests (1)"},
		{"many", `{"schema":"heapwright.load/1","requests":18446744073709551615,"errors":0,"seconds":1,"latencies_us":[1]}`, nil, "too many to be true"},
		{"negative", `{"schema":"heapwright.load/1","requests":-1,"errors":0,"seconds":1,"latencies_us":[1]}`, nil, "is not as it should be"},
		{"no time", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":0,"latencies_us":[1]}`, nil, "0 seconds"},
		{"slip", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":[1],"slip_p50_seconds":-1}`, nil, "a slip of -1 seconds"},
		{"both", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":[1],"latency_us_histogram":"x"}`, nil, "has one of"},
		{"neither", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1}`, nil, "has one of"},
		{"null", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":null}`, nil, "has one of"},
		{"too few", `{"schema":"heapwright.load/1","requests":3,"errors":1,"seconds":1,"latencies_us":[1]}`, nil, "there are 1 latencies of 3 requests with 1 errors"},
		{"too many", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":[1,2]}`, nil, "there are 2 latencies"},
		{"before", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":[-1]}`, nil, "less than nothing"},
		{"array", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latencies_us":[` + strings.Repeat("1,", maxLatencies) + `1]}`, nil, "latencies_us has 2000001 values"},
		{"not a histogram", `{"schema":"heapwright.load/1","requests":1,"errors":0,"seconds":1,"latency_us_histogram":"AAAA"}`, nil, "is not a compressed HdrHistogram"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseCommand([]byte(tt.line))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := []int64{r.Latency.TotalCount(), r.Latency.ValueAtPercentile(50), r.Latency.Max()}; !slices.Equal(got, tt.want) {
				t.Errorf("latencies %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"schema":"heapwright.load/1","requests":3,"errors":1,"seconds":1,"latencies_us":[10,20.5,30],"first_error":"x","slip_p99_seconds":0.1}`))
	f.Add([]byte(`{"schema":"heapwright.load/1","requests":3,"errors":1,"seconds":1,"latency_us_histogram":"` + encoded(f, 1, 60_000_000, 3, 10, 1000, 100000) + `"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseCommand(line)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b\n") {
				t.Errorf("the error has control characters: %q", err)
			}
			return
		}
		n := uint64(r.Latency.TotalCount())
		if r.Errors > r.Requests || r.Answered != r.Requests-r.Errors || n < r.Answered || n > r.Requests || !(r.Seconds > 0) || r.Latency.Max() > 2*histogramMax {
			t.Errorf("%+v with %d latencies", r, n)
		}
		if _, err := r.wire(); err != nil {
			t.Error(err)
		}
		r.Held()
	})
}

// TestExpand leaves alone what it does not know, and what was expanded before.
func TestExpand(t *testing.T) {
	c := Config{Rate: 1e6, Seed: 5}
	got := expand([]string{"{rate}/s", "--for={seconds}", "{phase}{phase}", "{port}", "{seedling}"}, c, 0, phaseWarmup, 2.5)
	if want := []string{"1000000/s", "--for=2.5", "warmupwarmup", "{port}", "{seedling}"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHeld(t *testing.T) {
	latency := newHistogram()
	recordDuration(latency, 8*time.Millisecond)
	for _, tt := range []struct {
		r    Report
		want string
	}{
		{Report{Requests: 1000, Answered: 1000, Errors: 1, Seconds: 1, Latency: latency}, ""},
		{Report{Requests: 1000, Answered: 965, Seconds: 1, Latency: latency}, ""},
		{Report{Requests: 1000, Answered: 964, Seconds: 2, Latency: latency, Audit: experiment.Audit{Offered: 500}}, "482 answers a second to 500 requests"},
		{Report{Requests: 1000, Answered: 964, Seconds: 2, Latency: latency, Audit: experiment.Audit{Offered: 500, SlipP99: 0.006}}, "482 answers a second to 500 requests; the generator itself sent late (p99 6 ms of 8 ms): it was the bottleneck, or the machine, and not the subject"},
		{Report{Requests: 1000, Answered: 998, Errors: 2, Seconds: 1, Latency: latency, Audit: experiment.Audit{FirstError: "x"}}, "0.2% of the requests failed, the first: x"},
		{Report{Seconds: 1, Latency: latency}, "nothing was due: the window was too short for the rate"},
	} {
		if ok, why := tt.r.Held(); why != tt.want || ok != (tt.want == "") {
			t.Errorf("%v %q, want %q", ok, why, tt.want)
		}
	}
}
