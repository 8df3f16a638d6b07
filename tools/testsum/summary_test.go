package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRun runs the real go test on a module with every outcome that a test or a
// package can have.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		golden   string
		packages []string
		race     bool
		again    bool
		ok       bool
	}{
		{golden: "good", packages: []string{"./good", "./none"}, ok: true},
		{golden: "all", packages: []string{"./good", "./bad", "./broken", "./ends", "./none"}},
		{golden: "missing", packages: []string{"./nowhere"}},
		{golden: "raced", packages: []string{"./raced"}, race: true, ok: true},
		{golden: "unsteady", packages: []string{"./unsteady", "./good"}, again: true, ok: true},
		{golden: "unsteady_once", packages: []string{"./unsteady"}},
		{golden: "again", packages: []string{"./bad"}, again: true},
		{golden: "grave", packages: []string{"./grave"}, again: true},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			t.Setenv("GOWORK", "off")
			t.Setenv("UNSTEADY_DIR", t.TempDir())
			var out, stderr bytes.Buffer
			race := ""
			if tt.race {
				if why := noRace(); why != "" {
					t.Skip("no race detector: " + why)
				}
				race = "testdata/module"
			}
			args := append([]string{"-modules", "testdata/module", "-race", race, "-again=" + strconv.FormatBool(tt.again), "--", "-count=1", "-p=1", "-vet=off"}, tt.packages...)
			ok, err := run(t.Context(), args, &out, &stderr)
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			if ok != tt.ok {
				t.Errorf("ok = %v, want %v", ok, tt.ok)
			}
			golden(t, filepath.Join("testdata", tt.golden+".golden"), out.String())
		})
	}
}

func TestNoRaceDetector(t *testing.T) {
	for _, tt := range []struct{ cgo, cc, want string }{
		{"0", "gcc", "cgo is off"},
		{"1", "nowhere-cc -m64", "there is no C compiler nowhere-cc"},
		{"1", os.Args[0], ""},
	} {
		t.Setenv("CGO_ENABLED", tt.cgo)
		t.Setenv("CC", tt.cc)
		if got := noRace(); got != tt.want {
			t.Errorf("CGO_ENABLED=%s CC=%s: %q, want %q", tt.cgo, tt.cc, got, tt.want)
		}
	}
}

func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if _, err := run(ctx, []string{"-modules", "testdata/module", "--", "./good"}, &out, &out); err == nil {
		t.Error("no error from a cancelled run")
	}
}

func TestReadPassesOtherLinesThrough(t *testing.T) {
	var out bytes.Buffer
	s := newSummary(&out)
	in := "go: downloading x v1\n{not an event\n" + `{"Action":"pass","Package":"p","Test":"TestX"}` + "\nno newline"
	if err := s.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "go: downloading x v1\n{not an event\nno newline\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s.passed != 1 || s.failed != 0 || s.skipped != 0 {
		t.Errorf("%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped)
	}
}

// TestSlowest names the ten slowest tests, each once, and subtests in place of what they
// are of.
func TestSlowest(t *testing.T) {
	var in strings.Builder
	end := func(action, test string, seconds float64) {
		for _, a := range []string{"run", action} {
			fmt.Fprintf(&in, `{"Action":%q,"Package":"p","Test":%q,"Elapsed":%g}`+"\n", a, test, seconds)
		}
	}
	end("pass", "TestQuick", 0.99)
	end("pass", "TestTwice", 3)
	end("fail", "TestTwice", 99.26)
	end("pass", "TestTwice", 2)
	end("skip", "TestSkipped", 50)
	in.WriteString(`{"Action":"run","Package":"p","Test":"TestWhole"}` + "\n")
	end("pass", "TestWhole/part", 7)
	in.WriteString(`{"Action":"pass","Package":"p","Test":"TestWhole","Elapsed":8}` + "\n")
	for i := range 11 {
		end("pass", fmt.Sprintf("TestOf%02dSeconds", 10+i), float64(10+i))
	}
	var out bytes.Buffer
	s := newSummary(&out)
	if err := s.read(strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	s.print()
	_, got, _ := strings.Cut(out.String(), "\nslowest:\n")
	got, _, _ = strings.Cut(got, "\n\n")
	want := "   99.3 s  p.TestTwice"
	for i := range maxSlowest - 1 {
		want += fmt.Sprintf("\n   %.1f s  p.TestOf%02dSeconds", float64(20-i), 20-i)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(s.took) != 13 || s.took["p.TestWhole/part"] != 7 {
		t.Errorf("slow are %v", s.took)
	}
}

var elapsed = regexp.MustCompile(`\d+\.\d+s`)

func golden(t *testing.T, path, got string) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(elapsed.ReplaceAllString(got, "0.00s"), dir, "DIR")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant (-update writes it)\n%s", path, got, want)
	}
}
