package lint

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// config names the exceptions of this repository.
var config = Config{
	LowLevel: map[string]string{
		"cmd/internal/procmem": "process_vm_readv, pidfds and clocks have no other door, and the tests need addresses of their own",
		"cmd/internal/poke":    "process_vm_writev has no other door",
		"cmd/internal/oom":     "eventfd and epoll, by which cgroups tell that memory is short, have no other door",
		"cmd/internal/pause":   "ptrace has no other door",

		"cmd/internal/hugepage": "fsopen and fsmount, by which a file system is made that is mounted nowhere, have no other door",
	},
	Exits: map[string]string{
		"cmd/internal/cli": "the second interrupt ends heapwright at once, wherever it is",
	},
	Inits: map[string]string{
		"memlimit/auto":      "an import is all that it takes, for programs that want no call of their own; the environment turns it off",
		"integrations/caddy": "Caddy's modules, directives and options are registered by import, in init",
	},
	Modules: map[string]map[string]string{
		"integrations/caddy": {"integrations/prometheus": "Caddy's own metrics registry is Prometheus'"},
	},
	Writes: map[string]string{
		"cmd/internal/poke": "it is the one place that writes: one aligned word, compared before and read back",
	},
	Traces: map[string]string{
		"cmd/internal/pause": "it is the one place that stops a process, for as long as a deadline allows, where a user says --pause",
	},
	Reserved: map[string]map[string]string{
		"cmd/internal/poke": {
			"cmd/internal/live": "it has the rails: lease, log, watchdog, undo",
		},
		"cmd/internal/live": {
			"cmd/internal/cli/change.go":      "what the commands below need of it",
			"cmd/internal/cli/tunelive.go":    "tune --apply live",
			"cmd/internal/cli/enable.go":      "profile --enable",
			"cmd/internal/cli/servechange.go": "what operators ask serve for, off unless its file allows it",
			"cmd/internal/cli/undo.go":        "undo, and the watchdog that live starts",

			"cmd/internal/chaos/fault/softlimit.go": "stress squeezes GOMEMLIMIT of a process that runs, behind the same rails",
		},
	},
}

func TestRepository(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{".", "cmd", "e2e", "integrations/caddy", "integrations/grpc", "integrations/otel", "integrations/prometheus", "tools"} {
		if !slices.ContainsFunc(tree.Modules, func(have Module) bool { return have.Dir == m }) {
			t.Errorf("no module in %s: these rules look in the wrong place", m)
		}
	}
	for _, b := range Check(tree, config) {
		t.Error(b)
	}
}

// TestArchitecture holds the packages that docs/ARCHITECTURE.md lists against
// those that there are. The rules of the diagnosis and the examples are listed
// together, each by the directory above them.
func TestArchitecture(t *testing.T) {
	const doc = "docs/ARCHITECTURE.md"
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, f := range tree.Files {
		if f.Path != doc {
			continue
		}
		_, section, _ := strings.Cut(string(f.Data), "\n## Packages\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
			listed[m[1]] = true
		}
	}
	if len(listed) == 0 {
		t.Fatalf("%s lists no packages", doc)
	}
	there := map[string]bool{}
	for _, s := range tree.Sources {
		dir := s.Dir
		for _, together := range []string{"cmd/internal/diagnose/rules", "examples"} {
			if under(dir, together) {
				dir = together
			}
		}
		if !s.Test {
			there[dir] = true
		}
	}
	for dir := range there {
		if !listed[dir] {
			t.Errorf("%s does not say what %s is", doc, dir)
		}
	}
	for dir := range listed {
		if !there[dir] {
			t.Errorf("%s lists %s, where there is no package", doc, dir)
		}
	}
}

// TestRootDependencies asks the go command, which knows what the sources of one
// platform come to in the end, without the workspace: as a service's build sees it.
func TestRootDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-test", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	list := strings.Fields(string(out))
	if len(list) == 0 {
		t.Fatal("go list names no package of ours")
	}
	for _, p := range list {
		if strings.HasPrefix(p, "[") { // "PACKAGE [PACKAGE.test]" is two words
			continue
		}
		if !strings.HasPrefix(p, "github.com/heapwright/heapwright/") {
			t.Errorf("the root module depends on %s; the standard library is all it may use", p)
		}
	}
}

// sound is a tree that keeps every rule. Each case of TestRules changes it.
func sound() fstest.MapFS {
	return tree(map[string]string{
		".gitignore":                    "/bin/\n*.prof\n",
		"go.mod":                        "module example.com/m\n\ngo 1.25.0\n",
		"record/record.go":              "package record\n\nimport \"time\"\n\nvar T time.Time\n",
		"cgroup/cgroup.go":              "package cgroup\n\nimport \"example.com/m/record\"\n\nvar T = record.T\n",
		"internal/text/text.go":         "package text\n",
		"limit/auto/auto.go":            "package auto\n\nfunc init() {}\n",
		"examples/internal/run/run.go":  "package run\n\nimport \"os\"\n\nfunc End() { os.Exit(1) }\n",
		"cmd/go.mod":                    "module example.com/m/cmd\n\ngo 1.26.0\n\nrequire (\n\tgolang.org/x/sys v0.49.0 // indirect\n)\n",
		"cmd/internal/mem/mem.go":       "package mem\n\nimport (\n\t\"unsafe\"\n\n\t\"golang.org/x/sys/unix\"\n)\n\nvar _ unsafe.Pointer\nvar _ = unix.EIO\n",
		"cmd/internal/remote/remote.go": "package remote\n\nimport _ \"example.com/m/cmd/internal/mem\"\n",
		"cmd/internal/poke/poke.go":     "package poke\n\nimport \"golang.org/x/sys/unix\"\n\nvar f = unix.ProcessVMWritev\n",
		"cmd/internal/live/live.go":     "package live\n\nimport _ \"example.com/m/cmd/internal/poke\"\n",
		"cmd/internal/cli/tune.go":      "package cli\n\nimport _ \"example.com/m/cmd/internal/live\"\n",
		"cmd/internal/diagnose/d.go":    "package diagnose\n\nimport _ \"example.com/m/record\"\n",
		"cmd/internal/diagnose/zkey.go": "// Code generated by mkkeys; DO NOT EDIT.\n\npackage diagnose\n",
		"cmd/internal/diagnose/d_test.go": "package diagnose\n\nimport (\n\t\"testing\"\n\n\t_ \"example.com/m/cmd/internal/remote\"\n)\n\n" +
			"func init() {}\n\nfunc TestX(t *testing.T) { t.Skip(\"no kernel\") }\n\n" +
			"func FuzzX(f *testing.F) { f.Fuzz(func(t *testing.T, _ int) { t.Skip() }) }\n",
		"cmd/internal/cli/cli.go":      "package cli\n\nimport \"os\"\n\nfunc stop() { os.Exit(2) }\n",
		"cmd/hw/main.go":               "package main\n\nimport \"os\"\n\nfunc init() {}\n\nfunc main() { os.Exit(0) }\n",
		"cmd/hw/testdata/other/go.mod": "module other\n\nreplace example.com/m => ../../..\n",
		"cmd/hw/testdata/x.go":         "package util\n\nthis is not Go\n",
		"docs/x.md":                    "See /proc/PID/maps, https://example.com/root/x, ${HOME}/root/x, ./home/x/y and `home/x`, /home/x/y.\n",
		"e2e/go.mod":                   "module example.com/m/e2e\n",
		"integrations/a/go.mod":        "module example.com/m/integrations/a\n",
		"integrations/a/a.go":          "package a\n\nimport _ \"example.com/m/integrations/b\"\n",
		"integrations/b/go.mod":        "module example.com/m/integrations/b\n",
		"integrations/b/b.go":          "package b\n",
		"bin/util.go":                  "package util\n",
		"heap.prof":                    "in /ho" + "me/ada/x",
	})
}

func tree(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestRules(t *testing.T) {
	tests := []struct {
		name string
		rule string
		add  map[string]string
		want string // in front of the rule's name; "" is no breach at all
	}{
		{name: "sound"},
		{"require in root", "root-std-only", map[string]string{"go.mod": "module example.com/m\n\nrequire golang.org/x/sys v0.49.0\n"}, "go.mod:3: require golang.org/x/sys v0.49.0"},
		{"require block in root", "root-std-only", map[string]string{"go.mod": "module example.com/m\n\nrequire (\n\tgolang.org/x/sys v0.49.0 // indirect\n)\n"}, "go.mod:4: require golang.org/x/sys v0.49.0"},
		{"tool in root", "root-std-only", map[string]string{"go.mod": "module example.com/m\n\ntool golang.org/x/tools/cmd/stringer\n"}, "go.mod:3: tool golang.org/x/tools/cmd/stringer"},
		{"root imports a dependency in a test", "root-std-only", map[string]string{"cgroup/x_test.go": "package cgroup\n\nimport _ \"github.com/a/b\"\n"}, "cgroup/x_test.go:3: imports github.com/a/b"},
		{"root imports C", "root-std-only", map[string]string{"cgroup/x.go": "package cgroup\n\nimport \"C\"\n"}, "cgroup/x.go:3: imports C"},
		{"record imports ours", "record-alone", map[string]string{"record/x.go": "package record\n\nimport _ \"example.com/m/internal/text\"\n"}, "record/x.go:3: imports example.com/m/internal/text"},
		{"root imports cmd", "module-direction", map[string]string{"cgroup/x.go": "package cgroup\n\nimport _ \"example.com/m/cmd/lib\"\n", "cmd/lib/lib.go": "package lib\n"}, "cgroup/x.go:3: imports example.com/m/cmd/lib"},
		{"cmd imports e2e", "module-direction", map[string]string{"cmd/hw/x.go": "package main\n\nimport _ \"example.com/m/e2e/servers\"\n"}, "cmd/hw/x.go:3: imports example.com/m/e2e/servers"},
		{"cmd imports an integration", "module-direction", map[string]string{"integrations/caddy/go.mod": "module example.com/m/integrations/caddy\n", "cmd/hw/x.go": "package main\n\nimport _ \"example.com/m/integrations/caddy\"\n"}, "cmd/hw/x.go:3: imports example.com/m/integrations/caddy"},
		{"cmd imports root internal", "internal-own-module", map[string]string{"cmd/hw/x.go": "package main\n\nimport _ \"example.com/m/internal/text\"\n"}, "cmd/hw/x.go:3: imports example.com/m/internal/text"},
		{"an integration imports another", "module-direction", map[string]string{"integrations/b/b.go": "package b\n\nimport _ \"example.com/m/integrations/a\"\n"}, "integrations/b/b.go:3: imports example.com/m/integrations/a"},
		{"allowed import not needed", "module-direction", map[string]string{"integrations/a/a.go": "package a\n"}, "integrations/a: may import integrations/b (the test says so) but does not: take it off the list"},
		{"rule imports a source", "thinking-is-pure", map[string]string{"cmd/internal/diagnose/rules/x/x.go": "package x\n\nimport _ \"example.com/m/cmd/internal/remote\"\n"}, "cmd/internal/diagnose/rules/x/x.go:3: imports example.com/m/cmd/internal/remote"},
		{"unsafe elsewhere", "low-level-named", map[string]string{"record/x.go": "package record\n\nimport _ \"unsafe\"\n"}, "record/x.go:3: imports unsafe"},
		{"system calls elsewhere", "low-level-named", map[string]string{"cmd/hw/x.go": "package main\n\nimport _ \"golang.org/x/sys/unix\"\n"}, "cmd/hw/x.go:3: imports golang.org/x/sys/unix"},
		{"linkname elsewhere", "low-level-named", map[string]string{"cmd/hw/x.go": "package main\n\n//go:linkname now runtime.nanotime\nfunc now() int64\n"}, "cmd/hw/x.go:3: uses go:linkname"},
		{"allowance not needed", "low-level-named", map[string]string{"cmd/internal/mem/mem.go": "package mem\n"}, "cmd/internal/mem: may use unsafe code (the test says so) but does not: take it off the list"},
		{"writes memory", "reads-only", map[string]string{"cmd/internal/mem/x.go": "package mem\n\nimport \"golang.org/x/sys/unix\"\n\nvar f = unix.ProcessVMWritev\n"}, "cmd/internal/mem/x.go:5: uses unix.ProcessVMWritev"},
		{"traces", "reads-only", map[string]string{"cmd/internal/mem/x.go": "package mem\n\nimport \"syscall\"\n\nvar f = syscall.PtraceAttach\n"}, "cmd/internal/mem/x.go:5: uses syscall.PtraceAttach"},
		{"opens mem", "reads-only", map[string]string{"cmd/internal/mem/x.go": "package mem\n\nconst a, b, c = \"/proc/self/mem\", \"mem\", \"/mem\"\n\nconst d, e = \"/proc/mem/x\", \"/sys/mem\"\n"}, "cmd/internal/mem/x.go:3: names the file \"/mem\"\ncmd/internal/mem/x.go:3: names the file \"/proc/self/mem\"\ncmd/internal/mem/x.go:3: names the file \"mem\""},
		{"allowed writing not needed", "reads-only", map[string]string{"cmd/internal/poke/poke.go": "package poke\n\nimport _ \"golang.org/x/sys/unix\"\n"}, "cmd/internal/poke: may write to a process (the test says so) but does not: take it off the list"},
		{"traces where writing is allowed", "reads-only", map[string]string{"cmd/internal/poke/x.go": "package poke\n\nimport \"golang.org/x/sys/unix\"\n\nvar g = unix.PtraceAttach\n"}, "cmd/internal/poke/x.go:5: uses unix.PtraceAttach"},
		{"imports a reserved package", "reserved", map[string]string{"cmd/internal/remote/x.go": "package remote\n\nimport _ \"example.com/m/cmd/internal/poke\"\n"}, "cmd/internal/remote/x.go:3: imports example.com/m/cmd/internal/poke"},
		{"another file imports a reserved package", "reserved", map[string]string{"cmd/internal/cli/x.go": "package cli\n\nimport _ \"example.com/m/cmd/internal/live\"\n"}, "cmd/internal/cli/x.go:3: imports example.com/m/cmd/internal/live"},
		{"reservation not needed", "reserved", map[string]string{"cmd/internal/cli/tune.go": "package cli\n"}, "cmd/internal/cli/tune.go: may import cmd/internal/live (the test says so) but does not: take it off the list"},
		{"replace", "no-replace", map[string]string{"cmd/go.mod": "module example.com/m/cmd\n\nreplace example.com/m => ../\n"}, "cmd/go.mod:3: replace example.com/m => ../"},
		{"replace block", "no-replace", map[string]string{"cmd/go.mod": "module example.com/m/cmd\n\nreplace (\n\texample.com/m => ../\n)\n"}, "cmd/go.mod:4: replace example.com/m => ../"},
		{"init", "no-init", map[string]string{"record/x.go": "package record\n\nfunc init() {}\n"}, "record/x.go:3: has func init"},
		{"allowed init not needed", "no-init", map[string]string{"limit/auto/auto.go": "package auto\n"}, "limit/auto: may have func init (the test says so) but has not: take it off the list"},
		{"exit", "no-exit", map[string]string{"cmd/internal/remote/x.go": "package remote\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n"}, "cmd/internal/remote/x.go:5: calls os.Exit"},
		{"fatal", "no-exit", map[string]string{"cgroup/x.go": "package cgroup\n\nimport \"log\"\n\nfunc f() { log.Fatalf(\"\") }\n"}, "cgroup/x.go:5: calls log.Fatalf"},
		{"allowed exit not needed", "no-exit", map[string]string{"cmd/internal/cli/cli.go": "package cli\n"}, "cmd/internal/cli: may end the process (the test says so) but does not: take it off the list"},
		{"path in text", "no-machine-paths", map[string]string{"docs/y.md": "a\nin /ho" + "me/ada/src/x here\n"}, `docs/y.md:2: names "/ho` + `me/ada/src/x"`},
		{"path at the start", "no-machine-paths", map[string]string{"docs/y.md": "/wo" + "rk/x\n"}, `docs/y.md:1: names "/wo` + `rk/x"`},
		{"path in testdata", "no-machine-paths", map[string]string{"cmd/hw/testdata/out": "\"/ro" + "ot/go\""}, `cmd/hw/testdata/out:1: names "/ro` + `ot/go\""`},
		{"path in a compressed file", "no-machine-paths", map[string]string{"x.gz": zipped("a\x00/Us" + "ers/ada/x\x00")}, `x.gz:1: names "/Us` + `ers/ada/x"`},
		{"path in a cut file", "no-machine-paths", map[string]string{"x.gz": zipped("a /Us" + "ers/ada/x\n")[:30]}, `x.gz:1: names "/Us` + `ers/ada/x"`},
		{"generated without z", "generated-named-z", map[string]string{"record/x.go": "// Code generated by x; DO NOT EDIT.\n\npackage record\n"}, "record/x.go: is generated, but not named z*.go"},
		{"z without header", "generated-named-z", map[string]string{"record/zx.go": "package record\n"}, "record/zx.go: is named z*.go, but has no header that says it is generated"},
		{"skip without reason", "skip-says-why", map[string]string{"record/x_test.go": "package record\n\nfunc TestX(t *testing.T) {\n\tt.Skip()\n}\n"}, "record/x_test.go:4: calls t.Skip"},
		{"skipnow", "skip-says-why", map[string]string{"record/x_test.go": "package record\n\nfunc TestX(t *testing.T) {\n\tt.SkipNow()\n}\n"}, "record/x_test.go:4: calls t.SkipNow"},
		{"leftover", "no-leftovers", map[string]string{"record/x.go": "package record\n\n// TO" + "DO(ada): more.\n"}, "record/x.go:3: says TO" + "DO"},
		{"name", "package-name", map[string]string{"cmd/internal/util/x.go": "package util\n"}, "cmd/internal/util/x.go:1: is in package util"},
	}
	fired := map[string]bool{}
	for _, tt := range tests {
		fired[tt.rule] = true
		t.Run(tt.name, func(t *testing.T) {
			files := sound()
			for name, f := range tree(tt.add) {
				files[name] = f
			}
			loaded, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range Check(loaded, Config{
				LowLevel: map[string]string{"cmd/internal/mem": "the test says so", "cmd/internal/poke": "the test says so"},
				Exits:    map[string]string{"cmd/internal/cli": "the test says so"},
				Inits:    map[string]string{"limit/auto": "the test says so"},
				Modules:  map[string]map[string]string{"integrations/a": {"integrations/b": "the test says so"}},
				Writes:   map[string]string{"cmd/internal/poke": "the test says so"},
				Reserved: map[string]map[string]string{
					"cmd/internal/poke": {"cmd/internal/live": "the test says so"},
					"cmd/internal/live": {"cmd/internal/cli/tune.go": "the test says so"},
				},
			}) {
				if tt.rule == "" || b.Rule.Name == tt.rule {
					head, _, _ := strings.Cut(b.String(), "\n")
					got = append(got, head)
				}
			}
			if s := strings.Join(got, "\n"); s != tt.want {
				t.Errorf("breaches of %s:\n%s\nwant\n%s", tt.rule, s, tt.want)
			}
		})
	}
	for _, r := range Rules {
		if !fired[r.Name] {
			t.Errorf("no case breaks rule %s", r.Name)
		}
		if r.Why == "" {
			t.Errorf("rule %s has no reason", r.Name)
		}
	}
}

func TestBreachSaysWhy(t *testing.T) {
	b := Breach{Path: "a.go", Line: 3, What: "imports b", Rule: Rule{Name: "r", Why: "because"}}
	if got, want := b.String(), "a.go:3: imports b\n\t[r] because"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	if _, err := Load(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tree without .gitignore: error %v", err)
	}
	broken := sound()
	broken["record/x.go"] = &fstest.MapFile{Data: []byte("package")}
	if _, err := Load(broken); err == nil || !strings.Contains(err.Error(), "record/x.go:1") {
		t.Errorf("a tree with a broken file: error %v", err)
	}
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Flush()
	z.Close()
	return b.String()
}
