package e2e

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// TestServiceIsSized does with the example what docs/guides/size-a-container.md
// says: nothing is wrong with it, a plan for 512 MiB keeps to them, and restarted
// with the plan's environment it stays where the plan said.
func TestServiceIsSized(t *testing.T) {
	t.Parallel()
	const limit = 512 << 20
	start := func(env ...string) *harness.Program {
		p := harness.Start{Path: product.Example("service"), Env: env}.Start(t)
		time.Sleep(3 * time.Second) // the first cycles are those of a heap that grows
		return p
	}
	p := start()
	d := product.Diagnose(t, p.PID, 20*time.Second)
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Level() > harness.Level("info") {
			t.Errorf("the healthy example has\n%v", f)
		}
	}

	type interval struct{ Estimate, Low, High float64 }
	var doc struct {
		Plan struct {
			Keep            bool   `json:"keep"`
			GOGCPercent     int64  `json:"gogc_percent"`
			GOMEMLIMITBytes int64  `json:"gomemlimit_bytes"`
			LimitBytes      uint64 `json:"container_limit_bytes"`
			RequestBytes    uint64 `json:"container_request_bytes"`
		} `json:"plan"`
		Expected struct {
			RSSPeakBytes interval `json:"rss_peak_bytes"`
		} `json:"expected"`
		Why        []string `json:"why"`
		Falsifiers []any    `json:"falsifiers"`
		Manifest   string   `json:"manifest"`
	}
	product.JSON(t, &doc, "tune", fmt.Sprint(p.PID), "--memory-limit", "512MiB", "--for", "30s", "--apply", "env")
	plan := doc.Plan
	// A live heap of 100 MiB leaves room for far more than GOGC=100 takes.
	if plan.Keep || plan.GOGCPercent <= 150 || plan.GOGCPercent > 2000 {
		t.Errorf("GOGC=%d, keep %v", plan.GOGCPercent, plan.Keep)
	}
	if plan.GOMEMLIMITBytes < 256<<20 || plan.GOMEMLIMITBytes >= limit || plan.LimitBytes != limit || plan.RequestBytes == 0 || plan.RequestBytes > limit {
		t.Errorf("plan %+v", plan)
	}
	if !(doc.Expected.RSSPeakBytes.High <= limit) || len(doc.Why) == 0 || len(doc.Falsifiers) == 0 {
		t.Errorf("%+v", doc)
	}
	p.Kill(t)

	var env []string
	for line := range strings.Lines(doc.Manifest) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			env = append(env, line)
		}
	}
	p = start(env...)
	time.Sleep(20 * time.Second)
	peak := rssPeak(t, p.PID)
	if peak > limit {
		t.Errorf("under the plan it takes %.0f MiB", peak/(1<<20))
	}
	// How well the peak is foretold is measured by the twin's own bench; here it
	// must not be of another size.
	if want := doc.Expected.RSSPeakBytes; !(peak > 0.5*want.Estimate && peak < 1.3*want.High) {
		t.Errorf("under the plan it takes %.0f MiB, expected were %.0f to %.0f", peak/(1<<20), want.Low/(1<<20), want.High/(1<<20))
	}
}

// rssPeak is the most that was resident of a process, in bytes.
func rssPeak(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib * 1024
		}
	}
	t.Fatal("/proc says no VmHWM")
	return math.NaN()
}
