package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	testscript.Main(m, map[string]func(){
		"heapwright": main,
		"target":     target,
	})
}

// target is a Go program to look at: this test binary under another name.
func target() {
	pidFile := flag.String("pid", "", "write the PID to this file when ready")
	lasts := flag.Duration("for", time.Minute, "end after this long")
	until := flag.String("until", "", "end when this file is there")
	status := flag.Int("exit", 0, "end with this status")
	keep := flag.Int("keep", 0, "keep so many MiB alive")
	trap := flag.Bool("trap", false, "on SIGTERM, SIGINT or SIGUSR1 say so, and end with 40 and its number")
	flag.Parse()
	fmt.Println("target: stdout")
	fmt.Fprintln(os.Stderr, "target: stderr")
	var trapped chan os.Signal
	if *trap {
		trapped = make(chan os.Signal, 1)
		signal.Notify(trapped, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	}
	if *pidFile != "" {
		tmp := *pidFile + ".tmp"
		if err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			panic(err)
		}
		if err := os.Rename(tmp, *pidFile); err != nil {
			panic(err)
		}
	}
	for range *keep << 4 {
		kept = append(kept, make([]byte, 64<<10))
	}
	end := time.After(*lasts)
	work := time.NewTicker(time.Millisecond)
	for {
		select {
		case <-work.C:
			garbage = make([]byte, 64<<10)
			if _, err := os.Stat(*until); *until != "" && err == nil {
				os.Exit(*status)
			}
		case sig := <-trapped:
			fmt.Println("target: got", sig)
			os.Exit(40 + int(sig.(syscall.Signal)))
		case <-end:
			os.Exit(*status)
		}
	}
}

var (
	garbage []byte
	kept    [][]byte
)

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
