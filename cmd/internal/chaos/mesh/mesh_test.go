package mesh

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, text string) *chaos.Plan {
	t.Helper()
	p, err := planfile.Parse("orders.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const head = `schema: heapwright.stress/1
target:
  name: orders
  ready: "http://127.0.0.1:8080/ready"
  debug: "http://127.0.0.1:6060/debug/heapwright/"
load:
  http: {requests: [{url: "http://127.0.0.1:8080/"}]}
  rate: 20/s
before: 30s
faults:
`

// all is a plan with every kind of fault.
const all = head + `
- {kind: limit.soft, level: 80%}
- {kind: cpu.quota, level: 50%}
- {kind: heap.churn, level: 400MiB/s}
- {name: Slow_Redis, kind: proxy.delay, level: 250ms, listen: "127.0.0.1:6380", upstream: "redis.default:6379", cut: 5%}
- {name: slow-local, kind: proxy.delay, level: 250ms, listen: "127.0.0.1:6381", upstream: "127.0.0.1:6379"}
- {name: cut, kind: proxy.delay, level: 0s, cut: 10%, listen: "127.0.0.1:6382", upstream: "redis.default:6379"}
- {name: hole, kind: proxy.hole, proxy: Slow_Redis, direction: from, end: reset}
- {name: partly, kind: proxy.hole, proxy: Slow_Redis, level: 50%}
- {name: resets, kind: proxy.reset, proxy: Slow_Redis}
- {kind: connections, level: 500, address: "127.0.0.1:8080"}
- {kind: freeze, level: 1s}
- {kind: pagecache, level: 50%}
- {name: half, kind: sibling, level: 50%, until: {metric: headroom_ratio, reaches: 10%}}
- {name: most, kind: sibling, level: 256MiB, ramp: 0s}
- {kind: shared, level: 64MiB}
- {kind: reclaim, level: 50%}
- {kind: limit.hard, level: 80%}
`

func TestExport(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options Options
	}{
		{"plain", Options{}},
		{"full", Options{Name: "orders", Namespace: "shop", Labels: map[string]string{"app": "orders", "tier": "api"}, Container: "server", ReadyURL: "http://orders.shop:8080/ready", Headroom: 512 << 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text, notes, err := Export(parse(t, all), tc.options)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tc.name+".yaml", text)
			said := strings.Join(notes, "\n")
			for _, f := range parse(t, all).Faults {
				translated := f.Name == "most" || f.Name == "Slow_Redis" || f.Name == "hole" || f.Name == "half" && tc.options.Headroom > 0
				if left := strings.Contains(said, f.Name+" ("+string(f.Kind)+"): "); left == translated {
					t.Errorf("%s: said to be left out %v, translated %v", f.Name, left, translated)
				}
			}
			if strings.Contains(string(text), "127.0.0.1") && strings.Contains(string(text[strings.Index(string(text), "apiVersion"):]), "127.0.0.1") {
				t.Error("the workflow has an address of this machine")
			}
		})
	}
}

// Every kind is translated, or has a reason why it is not.
func TestKinds(t *testing.T) {
	for _, k := range chaos.Kinds() {
		if !k.Inside && none[k.Kind] == "" && k.Kind != chaos.Sibling && k.Kind != chaos.SlowDependency && k.Kind != chaos.BlackHole {
			t.Errorf("nothing is said of %s", k.Kind)
		}
	}
}

func TestNothing(t *testing.T) {
	_, _, err := Export(parse(t, head+"- {kind: limit.soft, level: 80%}\n- {kind: sibling, level: 50%}\n"), Options{})
	var nothing *NothingError
	if !errors.As(err, &nothing) || len(nothing.Why) != 2 || nothing.Hint() == "" {
		t.Errorf("%v", err)
	}
}

func TestOptions(t *testing.T) {
	plan := parse(t, all)
	for _, o := range []Options{
		{Name: "A b"}, {Namespace: "a.b"}, {Container: "a\nb"}, {Labels: map[string]string{"a b": "c"}}, {Labels: map[string]string{"a": "c: d"}},
		{ReadyURL: "ftp://x"}, {ReadyURL: "http://"}, {Headroom: -1},
	} {
		if _, _, err := Export(plan, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	for name, want := range map[string]string{"Orders, on Go 1.27": "orders-on-go-1-27", "": "stress", "ü": "stress", strings.Repeat("x-", 50): strings.TrimSuffix(strings.Repeat("x-", 20), "-")} {
		if got := dns(name, "stress"); got != want {
			t.Errorf("dns(%q) = %q, want %q", name, got, want)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
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
