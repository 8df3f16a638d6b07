package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// readRecording reads a recording as a stranger would: JSON lines inside gzip
// members. It returns how many lines of each kind there are.
func readRecording(t *testing.T, file string) map[string]int {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gz, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	kinds := map[string]int{}
	for dec := json.NewDecoder(gz); ; {
		var line struct {
			Kind string `json:"kind"`
		}
		err := dec.Decode(&line)
		if err == io.EOF {
			return kinds
		}
		if err != nil {
			t.Fatalf("%s: after %v: %v", file, kinds, err)
		}
		kinds[line.Kind]++
	}
}

// TestRecordAndDiagnose records a stripped real server and diagnoses the file.
func TestRecordAndDiagnose(t *testing.T) {
	t.Parallel()
	inst := startServer(t, servers.NATS)
	stop := underLoad(t, inst, inst.ModerateLoad())
	defer stop()
	file := filepath.Join(t.TempDir(), "nats.hwrec")
	if r := product.Run(t, "record", strconv.Itoa(inst.PID), "--for", "12s", "--hz", "10", "-o", file); r.Code != 0 {
		t.Fatalf("want a recording\n%v", r)
	}
	kinds := readRecording(t, file)
	// The machine may be busy, but half of the samples have to be there.
	if kinds["sample"] < 60 || kinds["process"] != 1 || kinds["goroutines"] == 0 || kinds["profile"] == 0 || kinds["end"] != 1 {
		t.Errorf("the recording holds %v", kinds)
	}
	var d harness.Diagnosis
	product.JSON(t, &d, "diagnose", file)
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Level() > 0 {
			t.Errorf("a healthy server has\n%v", f)
		}
	}
	harness.Alive(t, inst.PID)
}

// TestRecordSeveral records two programs at once, each into its own file.
func TestRecordSeveral(t *testing.T) {
	t.Parallel()
	a := harness.Start{Path: product.Example("churn")}.Start(t)
	b := harness.Start{Path: product.Example("forcedgc")}.Start(t)
	dir := t.TempDir()
	r := product.RunWith(t, func(c *exec.Cmd) { c.Dir = dir }, "record", strconv.Itoa(a.PID), strconv.Itoa(b.PID), "--for", "3s")
	if r.Code != 0 {
		t.Fatalf("want two recordings\n%v", r)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("want two files, there are %v (%v)\n%v", files, err, r)
	}
	for _, f := range files {
		if kinds := readRecording(t, f); kinds["sample"] < 10 || kinds["end"] != 1 {
			t.Errorf("%s holds %v", f, kinds)
		}
	}
}

// TestRecordingCutShort kills the recorder, and then cuts and damages its file.
func TestRecordingCutShort(t *testing.T) {
	t.Parallel()
	p := harness.Start{Path: product.Example("churn")}.Start(t)
	file := filepath.Join(t.TempDir(), "killed.hwrec")
	cmd := exec.Command(product.Binary, "record", strconv.Itoa(p.PID), "-o", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(13 * time.Second)
	cmd.Process.Kill()
	cmd.Wait()
	harness.Alive(t, p.PID)

	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	diagnose := func(t *testing.T, content []byte) *harness.Diagnosis {
		t.Helper()
		path := filepath.Join(t.TempDir(), "recording.hwrec")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		var d harness.Diagnosis
		product.JSON(t, &d, "diagnose", path)
		return &d
	}
	t.Run("killed", func(t *testing.T) {
		if kinds := readRecording(t, file); kinds["sample"] < 50 || kinds["end"] != 0 {
			t.Errorf("the recording holds %v", kinds)
		}
		d := diagnose(t, whole)
		// What else is found depends on how much of the CPU the program got.
		if d.Find("HW9002") == nil {
			t.Errorf("want HW9002, that the recording is cut:\n%v", d)
		}
	})
	t.Run("cut", func(t *testing.T) {
		d := diagnose(t, whole[:len(whole)-len(whole)/4])
		if d.Find("HW9002") == nil {
			t.Errorf("want HW9002:\n%v", d)
		}
	})
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":          {nil, `empty`},
		"not_a_rec":      {[]byte("hello\n"), `not a recording`},
		"no_first_line":  {whole[:15], `ends before|not a recording`},
		"newer_version":  {[]byte(`{"kind":"heapwright-recording","schema":"heapwright.recording/99"}` + "\n"), `heapwright\.recording/99`},
		"pprof_instead":  {pprofFile(t, p.PID), `not a recording`},
		"damaged_at_all": {append(append([]byte{}, whole[:64]...), bytes.Repeat([]byte{0xff}, 4096)...), `damaged|not a recording`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "recording.hwrec")
			if err := os.WriteFile(path, tt.content, 0o644); err != nil {
				t.Fatal(err)
			}
			refused(t, product.Run(t, "diagnose", path), tt.want)
		})
	}
}

func pprofFile(t *testing.T, pid int) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "heap.pb.gz")
	if r := product.Run(t, "profile", strconv.Itoa(pid), "--type", "heap", "-o", file); r.Code != 0 {
		t.Fatalf("want a profile\n%v", r)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRecordTargetExits ends the program in the middle of its recording.
func TestRecordTargetExits(t *testing.T) {
	t.Parallel()
	p := harness.Start{Path: product.Example("churn"), Args: []string{"-for", "4s"}}.Start(t)
	file := filepath.Join(t.TempDir(), "exits.hwrec")
	if r := product.Run(t, "record", strconv.Itoa(p.PID), "--for", "1m", "-o", file); r.Code != 0 {
		t.Fatalf("want a recording\n%v", r)
	}
	if kinds := readRecording(t, file); kinds["sample"] < 10 || kinds["end"] != 1 {
		t.Errorf("the recording holds %v", kinds)
	}
}

// TestRecordCommand records a command that it starts: stdio, signals and the exit
// status are the command's own.
func TestRecordCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Run("stdio_and_status", func(t *testing.T) {
		file := filepath.Join(dir, "command.hwrec")
		r := product.Run(t, "record", "-o", file, "--", product.Example("churn"), "-for", "3s")
		if r.Code != 0 || !strings.HasPrefix(string(r.Stdout), "ready; ") || bytes.Count(r.Stdout, []byte("\n")) != 1 {
			t.Errorf("want the command's output and status\n%v", r)
		}
		if kinds := readRecording(t, file); kinds["sample"] < 10 || kinds["process"] != 1 {
			t.Errorf("the recording holds %v", kinds)
		}
	})
	t.Run("exit_status", func(t *testing.T) {
		file := filepath.Join(dir, "fails.hwrec")
		if r := product.Run(t, "record", "-o", file, "--", product.Example("churn"), "-no-such-flag"); r.Code != 2 || !strings.Contains(r.Stderr, "flag provided but not defined: -no-such-flag") {
			t.Errorf("want the command's exit status 2, and its message\n%v", r)
		}
	})
	t.Run("signal", func(t *testing.T) {
		file := filepath.Join(dir, "signal.hwrec")
		cmd := exec.Command(product.Binary, "record", "-o", file, "--", product.Example("churn"))
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 256)
		n, err := stdout.Read(line)
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscanf(string(line[:n]), "ready; look at it with: heapwright diagnose %d", &pid); err != nil {
			t.Fatalf("%q: %v", line[:n], err)
		}
		time.Sleep(2 * time.Second)
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ends with status 0 on SIGTERM, the recorder: %v", err)
		}
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("the program still runs: %v", err)
		}
		if kinds := readRecording(t, file); kinds["end"] != 1 {
			t.Errorf("the recording holds %v", kinds)
		}
	})
}
