package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/oomkill"
)

// TestOOMWatchCommand has heapwright run the program that is killed: it ends as that
// does, with 137, and says what it died of. Who watches lives in the same cgroup, and
// is not the one that the kernel chooses.
func TestOOMWatchCommand(t *testing.T) {
	t.Parallel()
	group := harness.NewCgroup(t, harness.Limits{MemoryBytes: 256 << 20})
	dir := t.TempDir()
	subject, err := oomkill.BuildSubject(t.Context(), "..", "", dir)
	if err != nil {
		t.Fatal(err)
	}
	r := product.RunWith(t, func(cmd *exec.Cmd) { group.Enter(cmd) },
		"oom", "watch", "--json", "--data", dir, "--", subject, "-mode", "heap", "-limit", "160", "-rate", "40")
	if r.Code != 137 {
		t.Fatalf("it does not end as the command did: %v", r)
	}
	var told bool
	for line := range strings.Lines(r.Stderr) { // stdout is the command's
		var doc struct {
			PID  int    `json:"pid"`
			Name string `json:"name"`
			File string `json:"file"`
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			continue
		}
		if doc.PID == 0 || doc.File == "" {
			continue
		}
		told = true
		if _, err := os.Stat(doc.File); err != nil {
			t.Error(err)
		}
		report := product.Run(t, "oom", doc.File)
		if report.Code == harness.CouldNotRun || !strings.Contains(string(report.Stdout), "main.growSessions") {
			t.Errorf("the post-mortem does not name what grew: %v", report)
		}
	}
	if !told {
		t.Errorf("nothing is told of the kill: %v", r)
	}
}
