package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// demoIn changes a run so that the demo leaves what it leaves in a directory of
// the test's own, and finds the example's source.
func demoIn(tmp string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Dir = "."
		cmd.Env = append(cmd.Environ(), "TMPDIR="+tmp, "COLUMNS=80")
	}
}

// nothingLeft fails when the demo left files or processes behind.
func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v in its temporary directory (%v)", left, err)
	}
	exes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, exe := range exes {
		if target, err := os.Readlink(exe); err == nil && strings.HasPrefix(target, tmp) {
			t.Errorf("the demo left %s running: %s", target, exe)
		}
	}
}

// TestDemo runs the demo as a newcomer would. The first time it builds the server.
func TestDemo(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	r := product.RunWithin(t, 20*time.Minute, demoIn(tmp), "demo", "--for", "15s")
	if r.Code != 0 {
		t.Fatalf("want a demo\n%v", r)
	}
	out := string(r.Stdout)
	for _, want := range []string{
		`(?m)^\$ heapwright ps nats-server liveheap\n`,
		`(?m)^ *\d+ +nats-server +1\.`,
		`(?m)^\$ heapwright record \d+ --for 15s`,
		`(?m)^(WARNING|CRITICAL) HW3001 `,
		`main\.openSession`,
		`(?m)^ *100 +off .*← now`,
		`(?m)^Storm floor: GOMEMLIMIT `,
		`(?m)^  container +request \d+MiB, limit 64MiB$`,
		`(?m)^runtime\.gcController\.memoryLimit +0x[0-9a-f]+ +8 +none +→ `,
		// A machine that has no time for it gives the collector more CPU than was foretold.
		`(?m)^(It works: in|Taken back: |It cannot be told)`,
		`(?m)^ *FLAT +FLAT% +CUM `,
		`(?m)^\$ heapwright compare .*gogc\.yaml -o `,
		// So does what the experiment can show.
		`(?m)^(PASS|INCONCLUSIVE)  `,
		`(?m)^GC cycles +[0-9]`,
		`(?m)^  heapwright record --name NAME -o FILE`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing matches %q in\n%s", want, out)
		}
	}
	// The healthy server comes before the other one: up to there nothing is wrong.
	healthy, _, _ := strings.Cut(out, "And the other program?")
	if m := regexp.MustCompile(`(?m)^(WARNING|CRITICAL) .*`).FindString(healthy); m != "" {
		t.Errorf("the healthy server gets %s", m)
	}
	for _, l := range strings.Split(out, "\n") {
		if n := len([]rune(l)); n > 80 && !strings.HasPrefix(l, "$ ") && !strings.Contains(l, tmp) {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	nothingLeft(t, tmp)
}

// TestDemoInterrupted presses Ctrl-C in the middle of it.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd := exec.Command(product.Binary, "demo")
	demoIn(tmp)(cmd)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The recording runs: both programs do.
	buf, seen := make([]byte, 4096), ""
	for !strings.Contains(seen, "$ heapwright record") {
		n, err := stdout.Read(buf)
		if err != nil {
			t.Fatalf("the demo ended: %v\n%s%s", err, seen, &stderr)
		}
		seen += string(buf[:n])
	}
	time.Sleep(time.Second)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stdout.Read(buf)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != harness.CouldNotRun || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, stderr %s", code, &stderr)
	}
	nothingLeft(t, tmp)
}
