package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

// leaking is a server whose live heap rises, with a profile that says where.
func leaking() *record.Recording {
	site := func(share float64) record.ProfileSite {
		return ruletest.Allocates(share*2000*mib, 1e6, share*60*mib,
			ruletest.F("main.openSession", "/src/app/session.go", 41), ruletest.F("main.serve", "/src/app/main.go", 17))
	}
	return recordingOf(proc(4242, "leaky"), ruletest.Server{
		Seconds: 60, Live: ruletest.Ramp(20*mib, 120*mib, 60), Alloc: ruletest.Const(80 * mib), Container: 256 * mib,
		Profiles: []record.Profile{ruletest.HeapProfile(site(0.1)), ruletest.HeapProfile(site(1))},
	})
}

// save writes lives to a recording file.
func save(t *testing.T, lives ...*record.Recording) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.hwrec")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := record.NewWriter(f)
	for _, r := range lives {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(w.Process(r.Process))
		for i := range r.Samples {
			must(w.Sample(&r.Samples[i]))
		}
		for i := range r.Cycles {
			must(w.Cycle(&r.Cycles[i]))
		}
		for i := range r.Goroutines {
			must(w.Goroutines(&r.Goroutines[i]))
		}
		for i := range r.Profiles {
			must(w.Profile(&r.Profiles[i]))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDiagnoseText(t *testing.T) {
	healthy := recordingOf(proc(4123, "server"), ruletest.Server{Container: 2 << 30, Limit: 1800 * mib})
	poor := ruletest.Bare(recordingOf(proc(0, "metrics"), ruletest.Server{}), record.SourcePrometheus,
		record.FieldHeapLiveBytes, record.FieldHeapMarkedBytes, record.FieldHeapGoalBytes, record.FieldGCCycles, record.FieldRSSBytes)
	short := recordingOf(proc(7, "short"), ruletest.Server{Seconds: 2})
	for _, tc := range []struct {
		name string
		rec  *record.Recording
		want ExitCode
	}{
		{"leak", leaking(), ExitOK},
		{"healthy", healthy, ExitOK},
		{"poor-source", poor, ExitOK},
		{"not-enough", short, ExitInconclusive},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			f.run(t, tc.want, "diagnose", save(t, tc.rec))
			at80(t, f.out.String())
			golden(t, "diagnose/"+tc.name+".txt", f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

func TestDiagnoseExitCodes(t *testing.T) {
	short := save(t, recordingOf(proc(1, "short"), ruletest.Server{Seconds: 2}))
	leak, healthy := save(t, leaking()), save(t, recordingOf(proc(1, "server"), ruletest.Server{}))
	for _, tc := range []struct {
		file   string
		failOn string
		want   ExitCode
	}{
		{leak, "never", ExitOK},
		{leak, "info", ExitFinding},
		{leak, "warning", ExitFinding},
		{leak, "often", ExitCouldNotRun},
		{healthy, "warning", ExitOK},
		{short, "info", ExitInconclusive},
		{short, "never", ExitInconclusive},
	} {
		f := newFakeEnv()
		f.run(t, tc.want, "diagnose", "--fail-on", tc.failOn, tc.file)
	}
}

func TestDiagnoseJSON(t *testing.T) {
	f := newFakeEnv()
	f.run(t, ExitOK, "diagnose", "--json", save(t, leaking()))
	var doc diagnosis
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != schemaDiagnose || doc.Process.Name != "leaky" || doc.Samples == 0 || doc.GCCycles == nil || *doc.Source != record.SourceRemote {
		t.Errorf("document %+v", doc)
	}
	found := false
	for _, x := range doc.Findings {
		if x.ID == "HW3001" {
			found = strings.Contains(x.Cause, "main.openSession")
		}
	}
	if !found {
		t.Errorf("no leak that names main.openSession in\n%s", &f.out)
	}
	if strings.Contains(f.out.String(), `\u003c`) {
		t.Error("JSON is escaped for HTML")
	}
}

func TestDiagnoseLives(t *testing.T) {
	file := save(t, leaking(), recordingOf(proc(5, "leaky"), ruletest.Server{}))
	name := func(args ...string) string {
		f := newFakeEnv()
		f.run(t, ExitOK, append([]string{"diagnose", "--json", file}, args...)...)
		var doc diagnosis
		if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if len(args) == 0 && !strings.Contains(f.err.String(), "2 lives") {
			t.Errorf("nothing says that there are two lives: %q", &f.err)
		}
		return doc.Process.Module + " " + strings.Repeat("*", doc.Process.PID%10)
	}
	if last, first := name(), name("--life", "1"); last != "example.com/leaky *****" || first != "example.com/leaky **" {
		t.Errorf("last life is %q, first is %q", last, first)
	}
	newFakeEnv().run(t, ExitCouldNotRun, "diagnose", "--life", "3", file)
}

func TestDiagnoseOddFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, tc := range []struct{ name, arg, want string }{
		{"no recording", write("a.txt", "hello\n"), "a.txt"},
		{"empty", write("empty.hwrec", ""), "empty.hwrec"},
		{"missing", filepath.Join(dir, "nosuch.hwrec"), "no such recording"},
		{"no process", "nosuch", "no Go process is named nosuch"},
		{"odd URL", "ftp://example.com/metrics", "not a URL"},
		{"PID 0", "0", "not a PID"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			f.run(t, ExitCouldNotRun, "diagnose", tc.arg)
			if f.out.Len() > 0 || !strings.Contains(f.err.String(), tc.want) || !strings.HasPrefix(f.err.String(), "heapwright: ") {
				t.Errorf("stdout %q, stderr %q", &f.out, &f.err)
			}
		})
	}
}

func TestDiagnoseProcess(t *testing.T) {
	f := newFakeEnv()
	f.serve(4123, "server", ruletest.Server{})
	file := filepath.Join(t.TempDir(), "kept.hwrec")
	f.run(t, ExitInconclusive, "diagnose", "server", "--for", "300ms", "--hz", "100", "-o", file)
	if !strings.Contains(f.out.String(), "HW9001") || f.err.Len() > 0 {
		t.Errorf("stdout %s\nstderr %s", &f.out, &f.err)
	}
	if lives := readBack(t, file); len(lives) != 1 || len(lives[0].Samples) < 2 {
		t.Errorf("the kept recording has %d lives", len(lives))
	}
}

func TestDiagnoseURL(t *testing.T) {
	f := newFakeEnv()
	f.host.urls = map[string]*record.Recording{"http://10.0.0.7:6060/debug/pprof": recordingOf(proc(0, "remote"), ruletest.Server{})}
	f.run(t, ExitInconclusive, "diagnose", "http://10.0.0.7:6060/debug/pprof", "--for", "100ms")
	f.run(t, ExitCouldNotRun, "diagnose", "http://10.0.0.8:6060/debug/pprof", "--for", "100ms")
}

func TestProgressOnlyOnATerminal(t *testing.T) {
	f := newFakeEnv()
	f.serve(4123, "server", ruletest.Server{})
	f.errTerminal = 80
	f.run(t, ExitInconclusive, "diagnose", "4123", "--for", "500ms")
	got := f.err.String()
	if !strings.Contains(got, "watching server") || !strings.HasSuffix(got, "\r\x1b[2K") {
		t.Errorf("on a terminal: %q", got)
	}
	f.vars["TERM"] = "dumb"
	f.run(t, ExitInconclusive, "diagnose", "4123", "--for", "300ms")
	if f.err.Len() > 0 {
		t.Errorf("on a dumb terminal: %q", &f.err)
	}
}

func readBack(t *testing.T, file string) []*record.Recording {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lives, err := record.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return lives
}
