package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

// onTerminal runs heapwright with stdout or stderr on a terminal of 80 columns,
// and returns what came there and what went to the other one.
func onTerminal(t *testing.T, stdout bool, env []string, args ...string) (terminal, other string) {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	defer ptmx.Close()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	exe, err := exec.LookPath("heapwright") // testscript put it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(cmd.Environ(), append([]string{"COLUMNS=", "TERM=xterm", "NO_COLOR="}, env...)...)
	var rest bytes.Buffer
	cmd.Stdout, cmd.Stderr = &rest, tty
	if stdout {
		cmd.Stdout, cmd.Stderr = tty, &rest
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(ptmx) // a terminal whose other end is closed gives EIO
		read <- string(b)
	}()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	_ = cmd.Wait() // the status is not what is tested here
	return <-read, rest.String()
}

func recording(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b)
	rec := ruletest.Server{GOGC: -1}.Recording()
	if err := w.Process(rec.Process); err != nil {
		t.Fatal(err)
	}
	for i := range rec.Samples {
		if err := w.Sample(&rec.Samples[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.hwrec")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestColour(t *testing.T) {
	file := recording(t)
	for _, tc := range []struct {
		name string
		env  []string
		want bool
	}{
		{"terminal", nil, true},
		{"NO_COLOR", []string{"NO_COLOR=1"}, false},
		{"dumb", []string{"TERM=dumb"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, stderr := onTerminal(t, true, tc.env, "diagnose", file)
			if !strings.Contains(out, "HW1004") || stderr != "" {
				t.Fatalf("stdout %q, stderr %q", out, stderr)
			}
			if got := strings.Contains(out, "\x1b["); got != tc.want {
				t.Errorf("coloured: %v, want %v", got, tc.want)
			}
		})
	}
	_, out := onTerminal(t, false, nil, "diagnose", file)
	if strings.Contains(out, "\x1b[") {
		t.Error("colour in a pipe, because stderr is a terminal")
	}
}

func TestProgressIsErased(t *testing.T) {
	progress, out := onTerminal(t, false, nil, "record", "--for", "1s", "-o", filepath.Join(t.TempDir(), "x.hwrec"), startTarget(t))
	if !strings.Contains(progress, "recording target") || !strings.HasSuffix(progress, "\r\x1b[2K") {
		t.Errorf("progress %q", progress)
	}
	if strings.Contains(out, "recording target") || !strings.Contains(out, "samples") {
		t.Errorf("stdout %q", out)
	}
}
