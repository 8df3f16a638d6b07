package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/resultfile"
	conductor "github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/chaos/run/runtest"
)

const stressPlan = `schema: heapwright.stress/1
name: orders
target:
  pid: 4123
faults:
  - {kind: sibling, level: 40%, ramp: 1s, hold: 5s}
  - {kind: freeze, level: 1s, hold: 1s}
recovery: {within: 20s, memory: 30s, stable: 2s}
before: 10s
between: 2s
`

// stressHost is an Env whose plans are carried out on a lab that is not there.
func stressHost(t *testing.T) (*fakeEnv, *runtest.Lab) {
	t.Helper()
	t.Chdir(t.TempDir())
	put(t, "orders.yaml", stressPlan)
	f, lab := newFakeEnv(), runtest.New()
	f.Stress = func(Env, string, io.Writer) (conductor.Lab, error) { return lab, nil }
	return f, lab
}

func TestStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := stressHost(t)
		f.run(t, ExitOK, "stress", "orders.yaml", "--yes", "--html", "o.html", "--journal", "o.json")
		at80(t, f.out.String())
		for _, want := range []string{"target      orders 4123", "- do sibling", "PASS", "orders.hwstress has all that was seen"} {
			if !strings.Contains(f.out.String(), want) {
				t.Errorf("there is no %q in\n%s", want, f.out.String())
			}
		}
		if r, err := resultfile.Read("orders.hwstress"); err != nil || len(r.Phases) != 5 {
			t.Errorf("%+v, %v", r, err)
		}
		for _, name := range []string{"o.html", "o.json"} {
			if b, err := os.ReadFile(name); err != nil || len(b) < 1000 {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
		}
		// The second time there is one.
		f.run(t, ExitCouldNotRun, "stress", "orders.yaml", "--yes")
		if !strings.Contains(f.err.String(), "orders.hwstress is there already") {
			t.Error(f.err.String())
		}
		f.run(t, ExitOK, "stress", "report", "orders.hwstress", "--html", "-")
		if !strings.Contains(f.out.String(), "</html>") {
			t.Error("no page")
		}
	})
}

// How a run ends is how heapwright does.
func TestStressCodes(t *testing.T) {
	for _, tc := range []struct {
		name string
		want ExitCode
		text string
		args []string
		do   func(*runtest.Lab)
	}{
		{name: "refused", want: ExitCouldNotRun, text: "no cgroup", do: func(l *runtest.Lab) { l.Fail["resolve"] = errors.New("no cgroup") }},
		{name: "not well", want: ExitCouldNotRun, text: "x.hwstress has what was seen", do: func(l *runtest.Lab) { l.Values[chaos.OOMKills] = 1; l.Values[chaos.HeadroomRatio] = 0.01 }},
		{name: "aborted", want: ExitFinding, text: "fault sibling: no", do: func(l *runtest.Lab) { l.Fail["begin 0"] = errors.New("no") }},
		{name: "left", want: ExitFinding, do: func(l *runtest.Lab) { l.Keeper.Hold = 5e9; l.Swept = []string{"x"}; go leave(l) }},
		{name: "only", want: ExitOK, args: []string{"--only", "freeze"}},
		{name: "no such fault", want: ExitCouldNotRun, text: "--only fire: the plan's faults are sibling, freeze", args: []string{"--only", "fire"}},
		{name: "nobody to ask", want: ExitCouldNotRun, text: "nobody is there to be asked", args: []string{"--yes=false"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, lab := stressHost(t)
				if tc.do != nil {
					tc.do(lab)
				}
				f.run(t, tc.want, append([]string{"stress", "orders.yaml", "--yes", "-o", "x.hwstress"}, tc.args...)...)
				if !strings.Contains(f.err.String()+f.out.String(), tc.text) {
					t.Errorf("%s\n%s", f.out.String(), f.err.String())
				}
				files, _ := filepath.Glob(".*")
				if len(files) > 0 {
					t.Errorf("it left %v", files)
				}
			})
		})
	}
}

// leave changes a setting when the first fault has begun, and nobody puts it back.
func leave(l *runtest.Lab) {
	for {
		l.Lock()
		begun := len(l.Calls) > 0 && l.Calls[len(l.Calls)-1] == "begin 0"
		if begun {
			l.Settings["limit"] = "2"
		}
		l.Unlock()
		if begun {
			return
		}
		sleepALittle()
	}
}

func TestStressInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, lab := stressHost(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for {
				lab.Lock()
				begun := len(lab.Calls) > 0 && lab.Calls[len(lab.Calls)-1] == "begin 0"
				lab.Unlock()
				if begun {
					cancel()
					return
				}
				sleepALittle()
			}
		}()
		if code := run(ctx, f.Env, []string{"stress", "orders.yaml", "--yes", "--json"}); code != ExitInconclusive {
			t.Errorf("exit code %d\n%s", code, f.err.String())
		}
		var doc struct {
			Verdict     string
			Interrupted bool
		}
		if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil || doc.Verdict != "ABORTED" || !doc.Interrupted {
			t.Errorf("%v: %+v", err, doc)
		}
	})
}

func TestStressDryRun(t *testing.T) {
	f, lab := stressHost(t)
	f.run(t, ExitOK, "stress", "orders.yaml", "--dry-run")
	if got := strings.Join(lab.Calls, ", "); got != "open, resolve, close" {
		t.Errorf("a dry run did %s", got)
	}
	at80(t, f.out.String())
	for _, usage := range [][]string{
		{"stress"}, {"stress", "--init", "nonsense"}, {"stress", "--init", "--check"}, {"stress", "--check", "orders.yaml", "--yes"},
		{"stress", "orders.yaml", "--dry-run", "--yes"}, {"stress", "orders.yaml", "-o", "-"}, {"stress", "orders.yaml", "--json", "--html", "-"},
		{"stress", "export", "orders.yaml", "--to", "litmus"},
	} {
		f.run(t, ExitCouldNotRun, usage...)
	}
}

// TestStressOnly: a target is told where proxies listen, also those of faults that are
// left out.
func TestStressOnly(t *testing.T) {
	plan := func() *chaos.Plan {
		return &chaos.Plan{Faults: []chaos.Fault{
			{Name: "slow", Kind: chaos.SlowDependency, Upstream: "db:5432"},
			{Name: "gone", Kind: chaos.BlackHole, Proxy: "slow"},
			{Name: "crowd", Kind: chaos.Connections},
		}}
	}
	for only, want := range map[string]string{"crowd": "crowd", "gone": "gone", "slow,crowd": "slow,crowd"} {
		p := plan()
		if err := (stressOptions{only: strings.Split(only, ",")}).choose(p); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range p.Faults {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, ","); got != want {
			t.Errorf("--only %s: %s", only, got)
		}
		if open := p.Opens(); len(open) != 1 || open[0].Name != "slow" {
			t.Errorf("--only %s: the proxies of %v are opened", only, open)
		}
	}
	if err := (stressOptions{only: []string{"none"}}).choose(plan()); err == nil {
		t.Error("a fault that the plan does not have is chosen")
	}
}

func TestUndoSweeps(t *testing.T) {
	f, c := undoHost()
	c.leases = nil
	lab := runtest.New()
	lab.Swept = []string{"memory.limit_in_bytes\x1b[2J of orders"}
	f.Stress = func(Env, string, io.Writer) (conductor.Lab, error) { return lab, nil }
	f.run(t, ExitOK, "undo", "--all")
	if got := f.out.String(); !strings.Contains(got, "left by stress, and put back: memory.limit_in_bytes") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	lab.Fail["sweep"] = errors.New("it cannot be read")
	f.run(t, ExitCouldNotRun, "undo", "--all")
}

// TestStressMissing: who names a plan that is not there is told how to get one.
func TestStressMissing(t *testing.T) {
	f, lab := stressHost(t)
	for _, args := range [][]string{{"stress", "none.yaml", "--yes"}, {"stress", "--check", "none.yaml"}, {"stress", "export", "none.yaml"}} {
		f.run(t, ExitCouldNotRun, args...)
		if got := f.err.String(); !strings.Contains(got, "--init -o none.yaml") {
			t.Errorf("%v: %s", args, got)
		}
	}
	if len(lab.Calls) > 0 {
		t.Errorf("it did %v", lab.Calls)
	}
}

func sleepALittle() { time.Sleep(10 * time.Millisecond) }

// TestStressStdin: - is stdin, as elsewhere.
func TestStressStdin(t *testing.T) {
	f, lab := stressHost(t)
	say := func(text string) { f.Stdin = strings.NewReader(text) }
	say(stressPlan)
	f.run(t, ExitOK, "stress", "--check", "-")
	say("schema: heapwright.stress/1\nname: [")
	f.run(t, ExitCouldNotRun, "stress", "--check", "-")
	say(stressPlan)
	f.run(t, ExitOK, "stress", "-", "--dry-run")
	say(stressPlan)
	f.run(t, ExitCouldNotRun, "stress", "-", "--yes")
	if !strings.Contains(f.err.String(), "with -o") {
		t.Error(f.err.String())
	}
	if got := strings.Join(lab.Calls, ", "); got != "open, resolve, close" {
		t.Errorf("it did %s", got)
	}
	say(stressPlan)
	f.run(t, ExitCouldNotRun, "stress", "export", "-")
	f.run(t, ExitOK, "stress", "export", "orders.yaml", "-o", "experiment.json")
	text, err := os.ReadFile("experiment.json")
	if err != nil {
		t.Fatal(err)
	}
	say(string(text))
	f.run(t, ExitOK, "stress", "import", "-")
}
