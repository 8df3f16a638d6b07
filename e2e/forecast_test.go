package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// A program that leaks gets a deadline before the kernel kills it, and it is killed: from
// outside, by a binary that knows nothing of it.
func TestForecastOfALeak(t *testing.T) {
	t.Parallel()
	group := harness.NewCgroup(t, harness.Limits{MemoryBytes: 224 << 20})
	p := harness.Start{Path: product.Example("liveheap"), Args: []string{"-rate", "2"}, Cgroup: group}.Start(t)
	var doc struct {
		State  string
		Reason string
		Killed *struct {
			In  float64  `json:"in_seconds"`
			Low float64  `json:"in_low_seconds"`
			End *float64 `json:"in_high_seconds"`
		}
	}
	begun := time.Now()
	// A rise from the start gets a deadline as far ahead as it has lasted: half way.
	for doc.Killed == nil {
		if time.Since(begun) > 3*time.Minute {
			t.Fatalf("no deadline: %s, %s", doc.State, doc.Reason)
		}
		if n, err := group.OOMKills(); err != nil || n > 0 {
			t.Fatalf("killed (%d, %v) before there was a deadline: %s, %s", n, err, doc.State, doc.Reason)
		}
		product.JSON(t, &doc, "forecast", strconv.Itoa(p.PID), "--for", "30s", "--json")
	}
	if doc.State != "reaches" && doc.State != "over" || doc.Killed.Low > doc.Killed.In || doc.Killed.End != nil && *doc.Killed.End < doc.Killed.In {
		t.Errorf("%s: %+v", doc.State, doc.Killed)
	}
	for {
		if n, err := group.OOMKills(); err != nil {
			t.Fatal(err)
		} else if n > 0 {
			return
		}
		if time.Since(begun) > 5*time.Minute {
			t.Fatalf("%s in %.0f s, and it lives", doc.State, doc.Killed.In)
		}
		time.Sleep(time.Second)
	}
}
