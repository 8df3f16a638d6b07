package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/record"
)

func TestRecordOne(t *testing.T) {
	f := newFakeEnv()
	f.serve(4123, "server", ruletest.Server{Profiles: []record.Profile{ruletest.HeapProfile()}, LastGoroutines: &record.Goroutines{Total: 3}})
	t.Chdir(t.TempDir())
	f.run(t, ExitOK, "record", "4123", "--for", "300ms", "--hz", "100", "--json")
	var doc recordDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	o := doc.Recordings[0]
	if doc.Schema != schemaRecord || len(doc.Recordings) != 1 || o.File != "server-4123.hwrec" || o.Samples < 2 || o.Snapshots != 2 ||
		o.ProcessExited || o.HeapLivePeakBytes == nil || doc.CommandExitStatus != nil {
		t.Errorf("document %+v", doc)
	}
	rec := readBack(t, o.File)[0]
	if len(rec.Samples) != o.Samples || len(rec.Cycles) != o.GCCycles || len(rec.Profiles) != 2 || len(rec.Goroutines) != 2 || rec.Truncated != "" {
		t.Errorf("the file has %d samples, %d cycles, %d profiles, %d goroutine snapshots, cut short: %q",
			len(rec.Samples), len(rec.Cycles), len(rec.Profiles), len(rec.Goroutines), rec.Truncated)
	}

	// The default name overwrites nothing.
	f.run(t, ExitOK, "record", "server", "--for", "50ms", "--profiles", "0")
	if !strings.HasPrefix(f.out.String(), "server-4123-2.hwrec: ") || strings.Contains(f.out.String(), "snapshot") {
		t.Errorf("stdout %q", &f.out)
	}
	at80(t, f.out.String())
}

func TestRecordSeveral(t *testing.T) {
	f := newFakeEnv()
	f.serve(1, "a", ruletest.Server{})
	f.serve(2, "b", ruletest.Server{})
	dir := filepath.Join(t.TempDir(), "today")
	f.run(t, ExitOK, "record", "1", "2", "--for", "100ms", "-o", dir)
	for _, name := range []string{"a-1.hwrec", "b-2.hwrec"} {
		if lives := readBack(t, filepath.Join(dir, name)); len(lives) != 1 {
			t.Errorf("%s has %d lives", name, len(lives))
		}
	}
	// One that cannot be read does not spoil the others.
	f.run(t, ExitCouldNotRun, "record", "1", "77", "--for", "100ms", "-o", dir)
	if !strings.Contains(f.err.String(), "77: no process 77") || len(readBack(t, filepath.Join(dir, "a-1-2.hwrec"))) != 1 {
		t.Errorf("stderr %q", &f.err)
	}
}

func TestRecordToStdout(t *testing.T) {
	f := newFakeEnv()
	f.serve(1, "a", ruletest.Server{})
	f.run(t, ExitOK, "record", "1", "--for", "50ms", "-o", "-")
	lives, err := record.ReadAll(bytes.NewReader(f.out.Bytes()))
	if err != nil || len(lives) != 1 || !strings.Contains(f.err.String(), "sample") {
		t.Errorf("%d lives, error %v, stderr %q", len(lives), err, &f.err)
	}
	f.run(t, ExitCouldNotRun, "record", "1", "1", "-o", "-")
}

func TestRecordFollowsAName(t *testing.T) {
	f := newFakeEnv()
	f.host.ends = true
	file := filepath.Join(t.TempDir(), "api.hwrec")
	life := func(pid int) {
		p := proc(pid, "api")
		p.StartTime = ruletest.Epoch.Add(time.Duration(pid) * time.Second)
		f.host.add(goproc.Entry{Process: p, IsGo: true}, recordingOf(p, ruletest.Server{Seconds: 0.5}))
	}
	life(1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan ExitCode)
	go func() { done <- run(ctx, f.Env, []string{"record", "--name", "api", "-o", file, "--hz", "50"}) }()
	wait := func(lives int) {
		for {
			raw, err := os.ReadFile(file)
			if err == nil {
				// A recording that grows can be read.
				if rs, err := record.ReadAll(bytes.NewReader(raw)); err == nil && len(rs) == lives && len(rs[lives-1].Events) > 1 {
					return
				}
			}
			select {
			case code := <-done:
				t.Fatalf("ended with %d: %s", code, &f.err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	wait(1)
	life(2) // it was restarted
	wait(2)
	cancel()
	if code := <-done; code != ExitOK {
		t.Fatalf("exit code %d: %s", code, &f.err)
	}
	var pids []int
	for _, r := range readBack(t, file) {
		pids = append(pids, r.Process.PID)
		if n := len(r.Events); n == 0 || r.Events[n-1].Kind != record.EventExited || len(r.Samples) == 0 {
			t.Errorf("life %d has %d samples and events %+v", r.Process.PID, len(r.Samples), r.Events)
		}
	}
	if !slices.Equal(pids, []int{1, 2}) || !strings.Contains(f.out.String(), "2 lives") {
		t.Errorf("lives of %v; summary %q", pids, &f.out)
	}
}

func TestRecordNameThatNeverComes(t *testing.T) {
	f := newFakeEnv()
	f.run(t, ExitCouldNotRun, "record", "--name", "nosuch", "--for", "50ms")
	if !strings.Contains(f.err.String(), "no process named nosuch came up") {
		t.Errorf("stderr %q", &f.err)
	}
}

func TestRecordUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"1", "--name", "x"}, {"1", "--", "true"}, {"--"}, {"1", "--hz", "-1"}, {"1", "--for", "-1s"},
		{"1", "--source", "gctrace"}, {"--source", "magic", "--", "true"},
	} {
		f := newFakeEnv()
		f.run(t, ExitCouldNotRun, append([]string{"record"}, args...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), "heapwright: hint: heapwright record --help") {
			t.Errorf("%q: stdout %q, stderr %q", args, &f.out, &f.err)
		}
	}
}

func TestFileName(t *testing.T) {
	for _, tc := range []struct{ name, want string }{
		{"nats-server", "nats-server-7"},
		{"../../etc/passwd", "_.._etc_passwd-7"},
		{"-rf", "rf-7"},
		{"a b\x1b[2J;c", "a_b__2J_c-7"},
		{"", "process-7"},
		{strings.Repeat("x", 300), strings.Repeat("x", 64) + "-7"},
	} {
		if got := fileName(record.Process{PID: 7, Name: tc.name}); got != tc.want {
			t.Errorf("fileName(%q) = %q, want %q", tc.name, got, tc.want)
		}
	}
	if got := fileName(record.Process{Name: "10.0.0.7:6060"}); got != "10.0.0.7_6060" {
		t.Errorf("without a PID: %q", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	const n = 100_000
	for i := range n {
		h.add(reading{at: ruletest.Epoch.Add(time.Duration(i) * time.Second), live: float64(i % 977)})
	}
	if len(h.readings) > maxReadings || len(h.skipped) > h.stride {
		t.Errorf("%d readings and %d skipped are kept", len(h.readings), len(h.skipped))
	}
	var top float64
	for i, r := range h.readings {
		top = max(top, r.live)
		if i > 0 && !r.at.After(h.readings[i-1].at) {
			t.Fatalf("reading %d is at %v, after one at %v", i, r.at, h.readings[i-1].at)
		}
	}
	if top != 976 {
		t.Errorf("the peak is %v, want 976", top)
	}
}

func TestProgressLine(t *testing.T) {
	f := newFakeEnv()
	s := &session{env: f.Env, opt: recordOptions{over: 30 * time.Second}, start: ruletest.Epoch}
	s.lanes = []*lane{{process: proc(4123, "nats-server"), last: reading{live: 12.3 * mib, goal: 24 * mib, rss: 45 * mib}}}
	s.lanes[0].now.Cycles = 17
	const want = "recording nats-server  12s of 30s ━━━─────  live 12.3Mi/24.0Mi  RSS 45.0Mi  17 GCs"
	if got := s.line(ruletest.Epoch.Add(12 * time.Second)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.lanes = append(s.lanes, &lane{process: proc(1, "x")})
	if got := s.line(ruletest.Epoch.Add(time.Second)); !strings.HasPrefix(got, "recording 2 processes  1.0s of 30s") {
		t.Errorf("of two: %s", got)
	}
}

func TestFormats(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{compactBytes(0), "0"}, {compactBytes(1023), "1023"}, {compactBytes(1024), "1.0Ki"}, {compactBytes(12.34 * mib), "12.3Mi"},
		{compactBytes(999.9 * mib), "1.0Gi"}, {compactBytes(123 * mib), "123Mi"}, {compactBytes(-1), "-"},
		{percent(0.0004), "0.0%"}, {percent(0.0994), "9.9%"}, {percent(0.5), "50%"},
		{span(90 * time.Second), "90s"}, {span(3 * time.Hour), "3h"}, {span(-1), "-"}, {span(1500 * time.Millisecond), "1.5s"},
		{plural(1, "process"), "1 process"}, {plural(2, "process"), "2 processes"}, {plural(0, "cycle"), "0 cycles"},
		{shortGoVersion("go1.26.8 X:nogreenteagc"), "1.26.8"}, {memlimitText(1<<63 - 1), "off"}, {gogcText(-1), "off"},
		{goalText(1<<64 - 1), "none"},
		{shortFunc("github.com/nats-io/nats-server/v2/server.(*client).parse", 30), "…/server.(*client).parse"},
		{shortFunc("github.com/a/b.f (/home/x/src/b/f.go:12)", 30), "…/b.f (f.go:12)"},
		{shortFunc("main.f (/src/main.go:1)", 40), "main.f (/src/main.go:1)"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
