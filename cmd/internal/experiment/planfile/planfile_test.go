package planfile

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// least is an experiment with nothing in it that could be left out.
const least = `schema: heapwright.experiment/1
subject:
  command: [./server]
variants:
- name: a
- name: b
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/"
goal:
  metric: gc_cpu_ratio
`

func TestTemplates(t *testing.T) {
	for _, kind := range Kinds() {
		text := Template(kind)
		if _, err := Parse(kind+".yaml", text); err != nil {
			t.Errorf("%s:\n%v", kind, err)
		}
		// With the comments that show keys taken away, too.
		plain := regexp.MustCompile(`(?m)^( *)# ([a-z_]+:.*|  .*)$`).ReplaceAll(text, []byte("$1$2"))
		if _, err := Parse(kind+".yaml", plain); err != nil {
			t.Errorf("%s, with all that it shows:\n%v\n%s", kind, err, plain)
		}
	}
	if Template("binary") != nil {
		t.Error("there is a template of no kind")
	}
}

func TestDefaults(t *testing.T) {
	got, err := Parse("dir/green tea.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := &experiment.Plan{
		Schema: experiment.PlanSchema, Name: "green tea", Seed: 1,
		Subject: experiment.Subject{Command: []string{"./server"}, Ready: experiment.Ready{TCP: "127.0.0.1:{port}", Within: 20 * time.Second},
			Stop: experiment.Stop{Signal: "SIGTERM", Within: 5 * time.Second}},
		Variants: []experiment.Variant{{Name: "a"}, {Name: "b"}},
		Load: experiment.Load{HTTP: &experiment.HTTPLoad{Protocol: "http1", Requests: []experiment.HTTPRequest{
			{Method: "GET", URL: "http://127.0.0.1:{port}/", Weight: 1, Expect: 200}}},
			KneeShare: 0.6, Arrivals: "poisson", Connections: 64, Timeout: 5 * time.Second},
		Goal:   &experiment.Goal{Metric: "gc_cpu_ratio", Margin: 0.05},
		Design: experiment.Design{Kind: "auto", Calibration: 12, Looks: []int{10, 16, 24, 32, 40}, Warmup: 1500 * time.Millisecond, Measure: 6 * time.Second},
		Budget: experiment.Budget{Time: 30 * time.Minute},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEverything(t *testing.T) {
	text, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Parse("testdata/everything.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "everything.json", append(got, '\n'))
	// Aliases are written out, so that the file says the same without them.
	if v := plan.Variants[2]; v.Env["A"] != "1" || v.Env["A"] != plan.Variants[1].Env["A"] {
		t.Errorf("alias: %+v", v)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (-update writes it anew)\ngot:\n%s", file, got)
	}
}

func TestSweep(t *testing.T) {
	text := strings.Replace(least, "- name: b\n", `sweep:
  gogc: [100, 200, off]
  gomemlimit: [off, 64MiB]
`, 1)
	text = strings.Replace(text, "- name: a\n", "- {name: a, gogc: 100, gomemlimit: off, env: {X: y}, memory_limit: 1GiB}\n", 1)
	plan, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range plan.Variants[1:] {
		names = append(names, v.Name)
		if v.Env["X"] != "y" || v.MemoryLimit != 1<<30 {
			t.Errorf("%s has lost what the baseline has: %+v", v.Name, v)
		}
	}
	// Neither the baseline once more, nor a program that is never collected.
	want := []string{"gogc-100_limit-64MiB", "gogc-200_limit-off", "gogc-200_limit-64MiB", "gogc-off_limit-64MiB"}
	if !slices.Equal(names, want) {
		t.Errorf("variants %q, want %q", names, want)
	}
}

// Each case changes the least experiment: the old text into the new. The problems
// are those expected, in their order.
func TestProblems(t *testing.T) {
	type edit struct{ old, new string }
	goal := "goal:\n  metric: gc_cpu_ratio\n"
	for _, tc := range []struct {
		name string
		edit edit
		want []string
	}{
		{"unknown key", edit{"variants:", "varients:"}, []string{`x.yaml:4:1: "varients" is no key here; did you mean variants?`}},
		{"several", edit{"variants:\n- name: a", "seed: x\nload: {rate: 0, http: {requests: [{link: x}]}}\nvariants:\n- {name: a, gogc: high, memory_limt: 1}\n- {name: a}"}, []string{
			`:4:7: seed: "x" is no whole number`, `:5:14: load.rate: a rate of 0 sends nothing`, `:5:36: load.http.requests[0]: "link" is no key here: there are`,
			`:7:19: variants[0].gogc: "high" is no GOGC`, `:7:25: variants[0]: "memory_limt" is no key here; did you mean memory_limit?`,
			`:8:10: variants[1].name: there are two variants "a"`, `:10:1: "load" is already in line 5`}},
		{"dash for underscore", edit{"- name: b", "- {name: b, build-flags: [-a]}"}, []string{`:6:13: variants[1]: "build-flags" is no key here; did you mean build_flags?`}},
		{"key elsewhere", edit{"  command: [./server]", "  command: [./server]\n  gogc: 5"}, []string{`:4:3: subject: "gogc" is no key here; it belongs to variants or sweep`}},
		{"key of nowhere", edit{"  metric:", "  flavour: 3\n  metric:"}, []string{`:12:3: goal: "flavour" is no key here: there are metric, margin`}},
		{"twice", edit{"goal:", "load: {}\ngoal:"}, []string{`:11:1: "load" is already in line 7`}},
		{"schema", edit{"experiment/1", "experiment/2"}, []string{`:1:9: schema: "heapwright.experiment/2" is not known: this heapwright reads heapwright.experiment/1`}},
		{"no schema", edit{"schema: heapwright.experiment/1\n", ""}, []string{`:1:1: schema: the first line`}},
		{"no subject", edit{"subject:\n  command: [./server]\n", ""}, []string{`:1:1: subject: there is no program to run: give one of command, package, source, git`}},
		{"two subjects", edit{"  command: [./server]", "  command: [./server]\n  source: ."}, []string{`:4:11: subject.source: there is command already`}},
		{"empty command", edit{"[./server]", "[]"}, []string{`:3:3: subject.command: there is no program`}},
		{"command as text", edit{"[./server]", "./server --port 1"}, []string{`:3:12: subject.command: here is a list expected`}},
		{"braces in a list", edit{"[./server]", "[./server, 127.0.0.1:{port}]"}, []string{`x.yaml:3:1: this is not YAML: did not find expected ',' or ']'; put text with braces into quotes: "127.0.0.1:{port}"`}},
		{"list for a text", edit{"[./server]", "[./server, [x]]"}, []string{`:3:23: subject.command[1]: here is one value expected`}},
		{"syntax", edit{"[./server]", "[./server"}, []string{`x.yaml:3:1: this is not YAML: did not find expected ',' or ']'`}},
		{"tabs", edit{"  command", "\tcommand"}, []string{`x.yaml:3:1: this is not YAML: `, "with spaces, not with tabs"}},
		{"one variant", edit{"- name: b\n", ""}, []string{`:4:1: variants: give two or more, the baseline first`}},
		{"same name", edit{"name: b", "name: a"}, []string{`:6:9: variants[1].name: there are two variants "a"`}},
		{"no name", edit{"name: b", "gogc: 50"}, []string{`:6:3: variants[1].name: a variant has a name`}},
		{"name with a slash", edit{"name: b", "name: a/b"}, []string{`:6:9: variants[1].name: "a/b" is no name`}},
		{"empty item", edit{"- name: b", "-"}, []string{`variants[1]: there is nothing after the dash`}},
		{"no value", edit{"name: b", "name:"}, []string{`variants[1].name: there is no value`}},
		{"GOGC", edit{"- name: b", "- {name: b, gogc: high}"}, []string{`:6:19: variants[1].gogc: "high" is no GOGC, and Go would take it for 100`}},
		{"negative GOGC", edit{"- name: b", "- {name: b, gogc: -1}"}, []string{`variants[1].gogc: "-1" is no GOGC: write off`}},
		{"GOMEMLIMIT", edit{"- name: b", "- {name: b, gomemlimit: 1.5GiB}"}, []string{`variants[1].gomemlimit: "1.5GiB" is no GOMEMLIMIT`}},
		{"large GOMEMLIMIT", edit{"- name: b", "- {name: b, gomemlimit: 9999999TiB}"}, []string{`too large`}},
		{"GOMAXPROCS", edit{"- name: b", "- {name: b, gomaxprocs: 0}"}, []string{`variants[1].gomaxprocs: 0 is not from 1 to 65536`}},
		{"GODEBUG", edit{"- name: b", "- {name: b, godebug: gctrace}"}, []string{`variants[1].godebug: "gctrace" is no GODEBUG`}},
		{"toolchain of a command", edit{"- name: b", "- {name: b, toolchain: go1.27.4}"}, []string{`variants[1].toolchain: the subject is a command`}},
		{"language version", edit{"command: [./server]", "source: .\nsweep: {toolchain: [go1.22, 1.27.4]}"},
			[]string{`:4:21: sweep.toolchain[0]: go1.22 is a version of the language: write its release, such as go1.22.0`, `:4:29: sweep.toolchain[1]: "1.27.4" is no toolchain`}},
		{"env name", edit{"- name: b", "- {name: b, env: {2X: y}}"}, []string{`:6:23: variants[1].env.2X: "2X" is no name`}},
		{"env with a key", edit{"- name: b", "- {name: b, env: {GOGC: 50}}"}, []string{`variants[1].env.GOGC: a variant has the key gogc for it`}},
		{"env of the subject", edit{"  command:", "  env: {GOMEMLIMIT: 1G}\n  command:"}, []string{`subject.env.GOMEMLIMIT: "1G" is no GOMEMLIMIT`}},
		{"NUL", edit{"- name: b", `- {name: b, env: {X: "\0"}}`}, []string{`has a NUL in it`}},
		{"memory limit without unit", edit{"- name: b", "- {name: b, memory_limit: 512}"}, []string{`variants[1].memory_limit: nothing runs in 512 bytes: write 512MiB`}},
		{"memory limit", edit{"- name: b", "- {name: b, memory_limit: 512M}"}, []string{`"512M" is no size: write 512MiB`}},
		{"CPU quota", edit{"- name: b", "- {name: b, cpu_quota: 0}"}, []string{`variants[1].cpu_quota: 0 is not from 0.01 to 1024 cores`}},
		{"revision", edit{"- name: b", "- {name: b, revision: main}"}, []string{`variants[1].revision: only a git subject has revisions`}},
		{"no revision", edit{"command: [./server]", "git: {package: ./cmd/x}"}, []string{`variants[0]: which revision?`, `variants[1]: which revision?`}},
		{"option for a revision", edit{"command: [./server]", "git: {revision: --upload-pack=x}"}, []string{`subject.git.revision: "--upload-pack=x" is no revision`}},
		{"package outside", edit{"command: [./server]", "git: {revision: x, package: ./../x}"}, []string{`subject.git.package: "./../x" is not in the repository`}},
		{"version", edit{"- name: b", "- {name: b, version: v1.0.0}"}, []string{`variants[1].version: only a package subject has versions`}},
		{"no version", edit{"command: [./server]", "package: example.com/x"}, []string{`variants[0]: which version?`, `variants[1]: which version?`}},
		{"latest", edit{"command: [./server]", "package: example.com/x@latest"}, []string{`subject.package: "latest" is no exact version`}},
		{"no module", edit{"command: [./server]", "package: ./x@v1.2.3"}, []string{`subject.package: "./x@v1.2.3" is no package`}},
		{"build flags", edit{"command: [./server]\nvariants:\n- name: a", "source: .\nvariants:\n- {name: a, build_flags: [s, -tags=x, -o=y, -ldflags, -s]}"},
			[]string{`build_flags[0]: "s" is neither a flag`, `build_flags[1]: there is a key for it: tags`, `build_flags[2]: -o is set by heapwright`}},
		{"file outside", edit{"  command:", "  files: {../x: a, /etc/x: b, a/../b: c, ok/x: d, ok: e}\n  command:"},
			[]string{`subject.files.../x: "../x" is no file inside of {dir}`, `"/etc/x"`, `"a/../b"`, `subject.files.ok/x: "ok" is a file here`}},
		{"ready twice", edit{"  command:", "  ready: {http: \"http://127.0.0.1:{port}/\", tcp: \"127.0.0.1:{port2}\"}\n  command:"}, []string{`subject.ready.tcp: there is http already`}},
		{"ready of all", edit{"  command:", "  ready: {http: \"http://127.0.0.1:80/\"}\n  command:"}, []string{`is the same for every process`}},
		{"ready, no address", edit{"  command:", "  ready: {tcp: \"{port}\"}\n  command:"}, []string{`subject.ready.tcp: "{port}" is no address`}},
		{"placeholder", edit{"{port}/", "{prot}/"}, []string{`load.http.requests[0].url: {prot} is not known`}},
		{"port 9", edit{"[./server]", "[./server, \"{port9}\"]"}, []string{`subject.command[1]: there are {port} and {port2} to {port8}, and no {port9}`}},
		{"placeholder in the program's text", edit{"[./server]", "[./server, \"{Port} {host} {id}\"]"}, []string{`subject.command[1]: {Port} is not known; did you mean {port}?`}},
		{"signal", edit{"  command:", "  stop: {signal: TERM}\n  command:"}, []string{`subject.stop.signal: "TERM" is not known; did you mean SIGTERM?`}},
		{"no load", edit{"load:\n  http:\n    requests:\n    - url: \"http://127.0.0.1:{port}/\"\n", "load:\n"}, []string{`load: there is nothing to serve`}},
		{"two loads", edit{"load:", "load:\n  command: [x, \"{port}\"]"}, []string{`load.command: there is http already`}},
		{"load of all", edit{"  http:\n    requests:\n    - url: \"http://127.0.0.1:{port}/\"\n", "  command: [wrk, x]\n"}, []string{`load.command: it is the same for every process`}},
		{"https", edit{"http://", "https://"}, []string{`is no URL of the subject`}},
		{"method, weight, status, header", edit{"    - url:", "    - method: get\n      weight: 0\n      expect: 2\n      header: {\"a b\": c}\n      url:"},
			[]string{`method: "get" is no method`, `weight: 0 is no weight`, `expect: 2 is not from 200 to 599`, `header.a b: "a b: c" is no header line`}},
		{"rate", edit{"load:", "load:\n  rate: fast"}, []string{`load.rate: "fast" is no rate: write 2000/s, or knee`}},
		{"rate of 0", edit{"load:", "load:\n  rate: 0"}, []string{`load.rate: a rate of 0 sends nothing`}},
		{"share of a rate", edit{"load:", "load:\n  rate: 100/s\n  knee_share: 50%"}, []string{`load.knee_share: it is a share of the rate that is found`}},
		{"the knee itself", edit{"load:", "load:\n  knee_share: 100%"}, []string{`load.knee_share: 100% is not from 5% to 95%`}},
		{"arrivals", edit{"load:", "load:\n  arrivals: Poisson"}, []string{`load.arrivals: "Poisson" is not known; did you mean poisson?`}},
		{"gRPC", edit{"  http:\n    requests:\n    - url: \"http://127.0.0.1:{port}/\"\n", "  grpc: {address: \"x:{port}/\", method: Get, json: \"{\", bytes: \"?\"}\n"},
			[]string{`load.grpc.address: "x:{port}/" is no address`, `load.grpc.method: "Get" is no method`, `load.grpc.json: this is not JSON`, `load.grpc.bytes: there is json already`, `this is not base64`}},
		{"nothing asked", edit{goal, ""}, []string{`x.yaml:1:1: there is neither a goal nor a guard`}},
		{"metric", edit{"gc_cpu_ratio", "gc_cpu"}, []string{`:12:11: goal.metric: "gc_cpu" is not measured; did you mean gc_cpu_ratio?`}},
		{"near metrics", edit{"gc_cpu_ratio", "latency"}, []string{`did you mean latency_p50_seconds or latency_p90_seconds or latency_p99_seconds?`}},
		{"far metric", edit{"gc_cpu_ratio", "happiness"}, []string{`there are throughput_per_second, `}},
		{"metric without direction", edit{"gc_cpu_ratio", "heap_goal_bytes"}, []string{`is neither better high nor low`}},
		{"margin", edit{goal, goal + "  margin: 5\n"}, []string{`:13:11: goal.margin: 5 would be more than 100%: write 5%`}},
		{"no margin", edit{goal, goal + "guards:\n- metric: rss_peak_bytes\n- {metric: gc_cpu_ratio, margin: 0}\n"},
			[]string{`:14:3: guards[0]: how much worse may it get?`, `guards[1].metric: this is the goal`, `guards[1].margin: 0% is not from 0.1% to 100%`}},
		{"guarded twice", edit{goal, "guards:\n- &g {metric: rss_peak_bytes, margin: 10%}\n- *g\n"}, []string{`guards[1].metric: "rss_peak_bytes" is guarded twice`}},
		{"looks", edit{goal, goal + "design: {looks: [5, 10, 10, 2000], calibration: 3, kind: dual, measure: 1ms, warmup: 5}\n"},
			[]string{`design.warmup: "5" has no unit: write 5s`}},
		{"design", edit{goal, goal + "design: {looks: [5, 10, 10, 2000], calibration: 3, kind: dual, measure: 1ms}\n"},
			[]string{`design.looks[0]: 5 pairs have no interval`, `design.looks[2]: looks are in order`, `design.looks[3]: 2000 pairs are more`, `design.calibration: 3 is neither 0`,
				`design.kind: "dual" is not known; it is one of auto, switchback, duet, both`, `design.measure: 1ms is not from 100ms`}},
		{"no looks", edit{goal, goal + "design: {looks: []}\n"}, []string{`design.looks: give 1 to 20`}},
		{"budget", edit{goal, goal + "budget: {time: 30d}\n"}, []string{`budget.time: "30d" is no duration: write 20s`}},
		{"seed", edit{goal, goal + "seed: -1\n"}, []string{`seed: "-1" is no whole number`}},
		{"tag", edit{goal, goal + "seed: !!float 1\n"}, []string{`seed: leave out the tag "!!float"`}},
		{"merge", edit{"- name: b", "- {<<: {gogc: 5}, name: b}"}, []string{`variants[1]: << is not read here`}},
		{"key that is a list", edit{"- name: b", "- {[a]: b, name: b}"}, []string{`variants[1]: a key is a word`}},
		{"two documents", edit{goal, goal + "---\na: b\n"}, []string{`:13:1: a second document begins here`}},
		{"itself", edit{"[./server]", "&a [*a]"}, []string{`subject.command[0]: here is one value expected`}},
		{"sweep of nothing", edit{goal, goal + "sweep: {gogc: []}\n"}, []string{`sweep: there is nothing to sweep`}},
		{"sweep of one twice", edit{goal, goal + "sweep: {gogc: [50, 50]}\n"}, []string{`sweep.gogc[1]: "50" is there twice`}},
		{"sweep of a command", edit{goal, goal + "sweep: {toolchain: [go1.27.4]}\n"}, []string{`sweep.toolchain: the subject is a command`}},
		{"large sweep", edit{goal, goal + "sweep: {gogc: [1,2,3,4,5,6,7,8,9], gomaxprocs: [1,2,3,4,5,6,7,8,9]}\n"}, []string{`these are more than 32 variants`}},
		{"larger sweep", edit{goal, goal + "sweep: {gogc: [1,2,3,4,5,6], gomaxprocs: [1,2,3,4,5,6]}\n"}, []string{`these are 38 variants, and 32 are the most`}},
		{"empty", edit{least, "# nothing\n"}, []string{`x.yaml:1:1: there is no experiment in the file`}},
		{"text", edit{least, "hello"}, []string{`x.yaml:1:1: an experiment is keys and values`}},
		{"binary", edit{least, "\xff\xfe"}, []string{`not UTF-8`}},
		{"large", edit{least, strings.Repeat("#\n", strictyaml.MaxFile)}, []string{`larger than 256 KiB`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(least, tc.edit.old) {
				t.Fatalf("nothing to change: %q", tc.edit.old)
			}
			_, err := Parse("x.yaml", []byte(strings.Replace(least, tc.edit.old, tc.edit.new, 1)))
			var errs *strictyaml.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("no problems: %v", err)
			}
			rest := err.Error()
			for _, w := range tc.want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("no %s in\n%v", w, err)
				}
				rest = after
			}
			if strings.Contains(rest, "\n") {
				t.Errorf("more than was expected:\n%v", err)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'h'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+", ", 10), ", ") + "]\n"
	}
	for name, text := range map[string]string{
		"aliases of lists": "subject:\n  command: &a [" + strings.Repeat("x, ", 1000) + "x]\n" + "variants:\n" + strings.Repeat("- args: *a\n", 1000),
		"aliases of texts": "subject:\n  env: &a {X: " + strings.Repeat("x", 200_000) + "}\n" + "variants:\n" + strings.Repeat("- env: *a\n", 1000),
		"bomb":             strings.ReplaceAll(bomb, "a: &a", "variants: &a"),
		"depth":            "variants: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"many problems":    strings.Repeat("- x\n", 5) + "a: b",
		"many keys": func() string {
			var b strings.Builder
			for i := range 5000 {
				b.WriteString(strings.Repeat("k", i%50+1))
				b.WriteString(string(rune('0' + i%10)))
				b.WriteString(": 1\n")
			}
			return b.String()
		}(),
	} {
		_, err := Parse("x.yaml", []byte(text))
		var errs *strictyaml.Errors
		if !errors.As(err, &errs) || len(errs.Problems) > strictyaml.MaxProblems || len(err.Error()) > 16<<10 {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

func TestScalars(t *testing.T) {
	for s, want := range map[string]time.Duration{"20s": 20 * time.Second, "1m30s": 90 * time.Second, "1.5s": 1500 * time.Millisecond, "0": 0, "0s": 0} {
		if got, err := strictyaml.ParseDuration(s); err != nil || got != want {
			t.Errorf("duration %s: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]experiment.Bytes{"512MiB": 512 << 20, "1.5GiB": 3 << 29, "4096": 4096, "1 TiB": 1 << 40, "7B": 7} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("size %s: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]experiment.Ratio{"10%": 0.1, "0.1": 0.1, "2.5 %": 0.025, "1": 1, "0": 0} {
		if got, err := ParseRatio(s); err != nil || got != want {
			t.Errorf("share %s: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]experiment.Rate{"knee": 0, "2000": 2000, "2000/s": 2000, "0.5 /s": 0.5} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("rate %s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "+1", "1e3", "0x1", "NaN", "Inf", "1_000", "99999999999999999999999TiB", "1%%", "1KB", "--"} {
		if _, err := strictyaml.ParseDuration(s); err == nil && s != "-1" {
			t.Errorf("duration %q is none", s)
		}
		if _, err := ParseBytes(s); err == nil {
			t.Errorf("size %q is none", s)
		}
		if _, err := ParseRatio(s); err == nil {
			t.Errorf("share %q is none", s)
		}
		if _, err := ParseRate(s); err == nil {
			t.Errorf("rate %q is none", s)
		}
	}
}

// What a GOGC or GOMEMLIMIT may be is what runtime.readGOGC and parseByteCount take.
func TestRuntimeSettings(t *testing.T) {
	for _, s := range []string{"off", "0", "1", "100", "2147483647"} {
		if err := CheckGOGC(s); err != nil {
			t.Errorf("GOGC %s: %v", s, err)
		}
	}
	for _, s := range []string{"", "Off", "-1", "+5", "1e3", "2147483648", "10%", "x"} {
		if CheckGOGC(s) == nil {
			t.Errorf("GOGC %s", s)
		}
	}
	for _, s := range []string{"off", "0", "0B", "1", "1B", "512MiB", "1KiB", "3GiB", "7TiB", "9223372036854775807", "8388607TiB"} {
		if err := CheckGOMEMLIMIT(s); err != nil && s != "9223372036854775807" {
			t.Errorf("GOMEMLIMIT %s: %v", s, err)
		}
	}
	for _, s := range []string{"", "Off", "-1", "1.5GiB", "1GB", "1Gi", "1G", "1 GiB", "1gib", "8388608TiB", "9223372036854775808", "99999999999999999999"} {
		if CheckGOMEMLIMIT(s) == nil {
			t.Errorf("GOMEMLIMIT %s", s)
		}
	}
	for s, ok := range map[string]bool{"go1.27.4": true, "go1.21.0": true, "go1.20": true, "go1.28rc1": true, "go1.28beta2": true,
		"go1.21": false, "1.27.4": false, "go2.0.0": false, "local": false, "go1.27.4+path": false, "go1.27.4-x": false} {
		if (checkToolchain(s) == nil) != ok {
			t.Errorf("toolchain %s", s)
		}
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{
		"a/b.yaml": "b", "b.yml": "b", "b": "b", ".yaml": "experiment", "-": "experiment", "": "experiment",
		"a\x1b[2J.yaml": "a_[2J", strings.Repeat("x", 200) + ".yaml": strings.Repeat("x", maxName) + "…",
	} {
		got := NameOf(path, "experiment")
		if got != want {
			t.Errorf("nameOf(%q) = %q, want %q", path, got, want)
		}
		// A result has the name and not the path: read again it is the same.
		if again := NameOf(got+".yaml", "experiment"); again != got {
			t.Errorf("%q becomes %q", got, again)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tea.yaml")
	if _, _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(least), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, text, err := Load(path)
	if err != nil || plan.Name != "tea" || string(text) != least || len(Hash(text)) != 64 {
		t.Errorf("%v, %+v", err, plan)
	}
	if Hash(text) == Hash(text[1:]) {
		t.Error("two texts have one hash")
	}
}

// Every key is in the manual, and the manual has no others.
func TestManual(t *testing.T) {
	doc, err := os.ReadFile("../../../../docs/formats/experiment.md")
	if err != nil {
		t.Fatal(err)
	}
	keys, metrics, ok := strings.Cut(string(doc), "\n## Metrics\n")
	if !ok {
		t.Fatal("docs/formats/experiment.md lists no metrics")
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|").FindAllStringSubmatch(keys, -1) {
		documented[m[1]] = true
	}
	for _, key := range strictyaml.KeyPaths(reflect.TypeFor[file]()) {
		if !documented[key] {
			t.Errorf("docs/formats/experiment.md does not say what %s is", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("docs/formats/experiment.md has %s, which is no key", key)
	}
	for _, m := range experiment.Metrics() {
		if !strings.Contains(metrics, "| `"+m.Name+"` |") {
			t.Errorf("docs/formats/experiment.md does not say what %s is", m.Name)
		}
	}
	// The examples in it are experiments.
	for _, m := range regexp.MustCompile("(?s)```yaml\n(schema:.*?)```").FindAllStringSubmatch(string(doc), -1) {
		if _, err := Parse("experiment.md", []byte(m[1])); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	for _, kind := range Kinds() {
		f.Add(Template(kind))
	}
	everything, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(everything)
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		plan, err := Parse("x.yaml", text)
		if err != nil {
			var errs *strictyaml.Errors
			if !errors.As(err, &errs) || len(errs.Problems) == 0 || len(errs.Problems) > strictyaml.MaxProblems {
				t.Fatalf("%v", err)
			}
			for _, p := range errs.Problems {
				if p.Line < 1 || p.Column < 1 || p.Text == "" {
					t.Errorf("%+v", p)
				}
			}
			return
		}
		if len(plan.Variants) < 2 || len(plan.Variants) > maxVariants || len(plan.Design.Looks) == 0 || plan.Baseline().Name == "" {
			t.Errorf("accepted %+v", plan)
		}
		if _, err := json.Marshal(plan); err != nil {
			t.Error(err)
		}
		again, err := Parse("x.yaml", text)
		if err != nil || !reflect.DeepEqual(plan, again) {
			t.Errorf("read twice: %v", err)
		}
	})
}
