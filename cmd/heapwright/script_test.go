package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/heapwright/heapwright/cmd/internal/cli"
	"github.com/heapwright/heapwright/record"
)

func TestMain(m *testing.M) {
	// A live change starts its own executable again, as a watchdog: that is this
	// test binary under a name that no script has.
	if os.Args[0] == "/proc/self/exe" {
		main()
		return
	}
	testscript.Main(withTarget{m}, map[string]func(){
		"heapwright": main,
	})
}

// A withTarget runs the tests with a program to look at in their PATH. It is not this
// test binary under another name: that has everything in it that heapwright has, and
// heapwright sets its own memory limit, so that live changes would be refused.
type withTarget struct{ *testing.M }

func (m withTarget) Run() int {
	dir, err := os.MkdirTemp("", "heapwright-target-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "target"), "./testdata/target").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the target: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

func TestScripts(t *testing.T) {
	result, err := filepath.Abs("../internal/cli/testdata/compare/tea.hwcmp")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       flag.Lookup("update").Value.String() == "true", // ruletest defines it
		Setup: func(e *testscript.Env) error {
			e.Setenv("COLUMNS", "80")
			e.Setenv("RESULT", result)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  status,
			"getpid":  getpid,
			"samples": samples,
			"edit":    edit,
			"cut":     cut,
			"appears": appears,
		},
	})
}

// status runs a program and demands an exit status, or one of several:
// status 3 heapwright ..., status 0,1 heapwright ...
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program [args...]")
	}
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	default:
		ts.Check(err)
	}
	if !slices.Contains(strings.Split(args[0], ","), strconv.Itoa(got)) {
		ts.Fatalf("%s ended with %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// getpid waits for a file with a PID and puts that into $PID.
func getpid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: getpid file")
	}
	for range 3000 {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			ts.Setenv("PID", string(b))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never came", args[0])
}

// samples waits until a recording, which may be growing, has at least so many
// samples: samples 20 x.hwrec
func samples(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: samples N file")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	have := 0
	for range 3000 {
		have = 0
		if b, err := os.ReadFile(ts.MkAbs(args[1])); err == nil {
			lives, err := record.ReadAll(bytes.NewReader(b))
			if len(b) > 0 {
				ts.Check(err)
			}
			for _, l := range lives {
				have += len(l.Samples)
			}
		}
		if have >= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s has %d samples, want %d", args[1], have, want)
}

// appears waits for a file of a pattern: appears dir/*
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears pattern")
	}
	for range 3000 {
		files, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(files) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never came", args[0])
}

// edit replaces the first of a text in a file, which must be there: edit file old new
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit file old new")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o666))
}

// cut takes so many bytes off the end of a file: cut file N
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut file N")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), info.Size()-n))
}

// startTarget starts a program to look at, which ends with the test, and returns
// its PID.
func startTarget(t *testing.T) string {
	t.Helper()
	exe, err := exec.LookPath("target")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(exe, "-pid", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for {
		if b, err := os.ReadFile(file); err == nil {
			return string(b)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the target does not start")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The exit codes are part of the contract.
func TestExitCodes(t *testing.T) {
	for code, want := range map[cli.ExitCode]int{cli.ExitOK: 0, cli.ExitFinding: 1, cli.ExitCouldNotRun: 2, cli.ExitInconclusive: 3} {
		if int(code) != want {
			t.Errorf("%v is %d, want %d", code, int(code), want)
		}
	}
}
