package manifest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func plan() *tune.Plan {
	about := func(v float64) pacer.Estimate { return pacer.Estimate{Estimate: v, Low: 0.9 * v, High: 1.05 * v} }
	return &tune.Plan{
		Settings:  pacer.Settings{GOGCPercent: 160, GOMEMLIMITBytes: 464 << 20, ContainerLimitBytes: 512 << 20},
		Container: tune.Container{RequestBytes: 477 << 20, LimitBytes: 512 << 20},
		Current:   pacer.Forecast{GCCPUCores: about(0.0592), RSSPeakBytes: about(386 << 20)},
		Expected:  pacer.Forecast{GCCPUCores: about(0.037), RSSPeakBytes: about(470 << 20)},
	}
}

func target() Target {
	return Target{Name: "api", Container: "server", Namespace: "shop", Source: "a recording of 30 min, api.hwrec"}
}

func render(t *testing.T, kind Kind, at Target, p *tune.Plan) []byte {
	t.Helper()
	text, err := Render(kind, at, p)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRender(t *testing.T) {
	full := plan()
	full.Settings.GOMAXPROCS = 2
	full.SetInCode = []string{"GOMEMLIMIT"}
	odd := plan() // a limit in bytes, and no room between the peak and it
	odd.Container = tune.Container{RequestBytes: 490_000_001, LimitBytes: 500_000_001}
	odd.Settings.GOMEMLIMITBytes = 464<<20 + 12345
	odd.Expected.RSSPeakBytes.High = 499e6
	off := plan()
	off.Keep = true
	off.Settings = pacer.Settings{GOGCPercent: -1, GOMEMLIMITBytes: pacer.NoMemoryLimit}
	off.Container = tune.Container{}
	for _, tt := range []struct {
		name string
		plan *tune.Plan
	}{{"plain", plan()}, {"full", full}, {"odd", odd}, {"off", off}} {
		for _, kind := range Kinds() {
			t.Run(tt.name+"_"+string(kind), func(t *testing.T) {
				got := render(t, kind, target(), tt.plan)
				path := filepath.Join("testdata", tt.name+"_"+string(kind)+".golden")
				if *update {
					if err := os.WriteFile(path, got, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs; got:\n%s", path, got)
				}
			})
		}
	}
}

// patch is what a strategic-merge patch says, as Kubernetes reads it.
type patch struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Name string `json:"name"`
					Env  []struct {
						Name      string  `json:"name"`
						Value     string  `json:"value"`
						ValueFrom *string `json:"valueFrom"`
					} `json:"env"`
					Resources struct {
						Requests map[string]string `json:"requests"`
						Limits   map[string]string `json:"limits"`
					} `json:"resources"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

func TestK8sParses(t *testing.T) {
	for _, workload := range []string{"", "Deployment", "StatefulSet", "DaemonSet"} {
		at := target()
		at.Workload = workload
		var got patch
		if err := yaml.UnmarshalStrict(render(t, K8s, at, plan()), &got); err != nil {
			t.Fatal(err)
		}
		if workload == "" {
			workload = "Deployment"
		}
		c := got.Spec.Template.Spec.Containers[0]
		if got.Kind != workload || got.Metadata.Name != "api" || got.Metadata.Namespace != "shop" || c.Name != "server" ||
			c.Env[0].Name != "GOGC" || c.Env[0].Value != "160" || c.Env[1].Name != "GOMEMLIMIT" || c.Env[1].Value != "464MiB" ||
			c.Resources.Requests["memory"] != "477Mi" || c.Resources.Limits["memory"] != "512Mi" {
			t.Errorf("%+v", got)
		}
	}
}

func TestComposeParses(t *testing.T) {
	var got struct {
		Services map[string]struct {
			Environment map[string]string `json:"environment"`
			Deploy      struct {
				Resources struct {
					Limits, Reservations map[string]string
				} `json:"resources"`
			} `json:"deploy"`
		} `json:"services"`
	}
	if err := yaml.UnmarshalStrict(render(t, Compose, target(), plan()), &got); err != nil {
		t.Fatal(err)
	}
	s := got.Services["api"]
	if s.Environment["GOGC"] != "160" || s.Environment["GOMEMLIMIT"] != "464MiB" ||
		s.Deploy.Resources.Limits["memory"] != "536870912b" || s.Deploy.Resources.Reservations["memory"] != "500170752b" {
		t.Errorf("%+v", got)
	}
}

// tool returns the path of a program that a test needs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func save(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKubectl merges the patch into a deployment whose GOMEMLIMIT comes from its
// limit: both a value and its source would be refused by the API server.
func TestKubectl(t *testing.T) {
	kubectl := tool(t, "kubectl")
	dir := t.TempDir()
	at := target()
	at.Namespace = ""
	patched := save(t, dir, "patch.yaml", render(t, K8s, at, plan()))
	save(t, dir, "api.yaml", []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
      - {name: sidecar, image: s}
      - name: server
        image: a
        env:
        - {name: OTHER, value: x}
        - {name: GOGC, value: "50"}
        - {name: GOMEMLIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
        resources: {limits: {memory: 1Gi, cpu: "2"}}
`))
	save(t, dir, "kustomization.yaml", []byte("resources: [api.yaml]\npatches: [{path: patch.yaml}]\n"))
	for name, args := range map[string][]string{
		"patch":     {"patch", "--local", "-f", filepath.Join(dir, "api.yaml"), "--type", "strategic", "--patch-file", patched, "-o", "yaml"},
		"kustomize": {"kustomize", dir},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(kubectl, args...).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var got patch
			if err := yaml.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			found := false
			for _, c := range got.Spec.Template.Spec.Containers {
				if c.Name != "server" {
					continue
				}
				found = true
				env := map[string]string{}
				for _, v := range c.Env {
					if v.ValueFrom != nil {
						t.Errorf("%s has a source", v.Name)
					}
					env[v.Name] += v.Value
				}
				if fmt.Sprint(env) != "map[GOGC:160 GOMEMLIMIT:464MiB OTHER:x]" {
					t.Errorf("environment %v", env)
				}
				if l := c.Resources.Limits; l["memory"] != "512Mi" || l["cpu"] != "2" {
					t.Errorf("limits %v", l)
				}
			}
			if !found || len(got.Spec.Template.Spec.Containers) != 2 {
				t.Errorf("containers %+v", got.Spec.Template.Spec.Containers)
			}
		})
	}
}

// TestSystemd lets systemd read the drop-in. Its exit status does not tell; what
// it says does, as the second case shows.
func TestSystemd(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	verify := func(dropIn []byte) string {
		dir := t.TempDir()
		unit := save(t, dir, "api.service", []byte("[Service]\nExecStart=/bin/true\n"))
		save(t, dir, "api.service.d/50-heapwright.conf", dropIn)
		cmd := exec.Command(analyze, "verify", "--man=no", unit)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, _ := cmd.CombinedOutput()
		var ours []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "50-heapwright.conf") {
				ours = append(ours, line)
			}
		}
		return strings.Join(ours, "")
	}
	text := render(t, Systemd, target(), plan())
	if bad := verify(bytes.Replace(text, []byte("MemoryMax="), []byte("MemoryMax=x"), 1)); bad == "" {
		t.Skip("systemd-analyze verify does not tell of a wrong value")
	}
	if said := verify(text); said != "" {
		t.Errorf("systemd says: %s", said)
	}
}

// TestShell lets a shell read what is for shells, with a docker that prints its
// arguments.
func TestShell(t *testing.T) {
	sh := tool(t, "sh")
	run := func(script string) string {
		out, err := exec.Command(sh, "-eu", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	at := target()
	at.Source = "$(touch x); `touch y` \"'\n\r\u2028touch z\\"
	dir := t.TempDir()
	for _, kind := range []Kind{Env, Export} {
		path := save(t, dir, string(kind), render(t, kind, at, plan()))
		if got := run("set -a; . " + path + "; env | grep '^GO[GM]' | sort"); got != "GOGC=160\nGOMEMLIMIT=464MiB" {
			t.Errorf("%s: %q", kind, got)
		}
	}
	path := save(t, dir, "docker", render(t, Docker, at, plan()))
	if got := run("docker() { echo \"$@\"; }; . " + path); got != "update --memory=536870912b --memory-reservation=500170752b --memory-swap=536870912b api" {
		t.Errorf("%q", got)
	}
}

func TestRefusesNames(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, name := range []string{"", "-x", "a b", "a\nb", "a;b", "$(x)", "`x`", "a/b", "../a", "\"", "a'b", "a\x00", "é", long, "a#b", "a:\n- b", "%h", "a\\b"} {
		for _, kind := range []Kind{Systemd, Docker, Compose, K8s} {
			_, err := Render(kind, Target{Name: name}, plan())
			var bad *NameError
			if !errors.As(err, &bad) {
				t.Errorf("%s takes the name %q: %v", kind, name, err)
			} else if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("the error for %q is %q", name, err)
			}
		}
	}
	for _, bad := range []Target{
		{Name: "api", Container: "Server"}, {Name: "api", Container: "a.b"}, {Name: "api", Namespace: "a b"},
		{Name: "api", Workload: "Pod\n"}, {Name: "API"}, {Name: "api-"}, {Name: "a_b"},
	} {
		if _, err := Render(K8s, bad, plan()); err == nil {
			t.Errorf("takes %+v", bad)
		}
	}
	var kind *KindError
	if _, err := Render("helm", target(), plan()); !errors.As(err, &kind) {
		t.Error(err)
	}
}

// FuzzRender holds every form to one plan, whatever names and texts say: each
// line is a comment or one of those that the plan alone makes.
func FuzzRender(f *testing.F) {
	f.Add("api", "server", "shop", "Deployment", "a recording", int64(464<<20), int64(160), uint64(512<<20), 1.0)
	f.Add("a\n- b", "$(x)", "\x00", "", "x\n[Service]\nExecStart=/bin/sh\\", int64(-1), int64(-1), uint64(1), math.NaN())
	f.Fuzz(func(t *testing.T, name, container, namespace, workload, source string, limit, gogc int64, memory uint64, v float64) {
		p := plan()
		p.Settings.GOMEMLIMITBytes, p.Settings.GOGCPercent = limit, gogc
		p.Container = tune.Container{RequestBytes: memory / 2, LimitBytes: memory}
		p.Expected.RSSPeakBytes.High = v
		at := Target{Name: name, Container: container, Namespace: namespace, Workload: workload, Source: source}
		same := at
		same.Source = ""
		for _, kind := range Kinds() {
			text, err := Render(kind, at, p)
			if err != nil {
				continue
			}
			plain, _ := Render(kind, same, p)
			strip := func(b []byte) string {
				var out strings.Builder
				for line := range strings.Lines(string(b)) {
					if !strings.HasPrefix(line, "#") {
						out.WriteString(line)
					}
				}
				return out.String()
			}
			if strip(text) != strip(plain) || bytes.Count(text, []byte("\n")) != bytes.Count(plain, []byte("\n")) {
				t.Errorf("%s: the source %q changes what is read:\n%s", kind, source, text)
			}
			if kind == K8s || kind == Compose {
				var any map[string]any
				if err := yaml.UnmarshalStrict(text, &any); err != nil {
					t.Errorf("%s: %v:\n%s", kind, err, text)
				}
			}
		}
	})
}
