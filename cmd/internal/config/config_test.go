package config

import (
	"bytes"
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

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

var update = flag.Bool("update", false, "rewrite docs/CONFIG.md")

func TestNothingIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "schema: heapwright.serve/1\n", "sampling:\n", "discovery:\n  # include: []\n"} {
		f, err := Parse("x.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if len(Diff(Default(), f)) != 0 {
			t.Errorf("%q: %+v", text, f)
		}
	}
}

func TestAnnotatedIsTheDefault(t *testing.T) {
	var b bytes.Buffer
	if err := Annotated(&b); err != nil {
		t.Fatal(err)
	}
	f, err := Parse("annotated.yaml", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(Default(), f); len(d) != 0 {
		t.Errorf("differs: %v", d)
	}
	for i, l := range strings.Split(b.String(), "\n") {
		if len(l) > annotatedWidth {
			t.Errorf("line %d is %d wide", i+1, len(l))
		}
	}
}

func TestParse(t *testing.T) {
	f, err := Parse("x.yaml", []byte(`
listen: "[::1]:0"
data: /data
discovery: {include: [nats-*, caddy], max_processes: 20}
sampling: {interval: 10s}
snapshots: {interval: 0, max_bytes: 100MiB}
storage: {retention: 4w, max_bytes: 1.5GiB}
tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem}
access: {operators: [ops], allow_changes: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen, want.DataDir = "[::1]:0", "/data"
	want.Discovery.Include, want.Discovery.MaxProcesses = []string{"nats-*", "caddy"}, 20
	want.Sampling.Interval, want.Sampling.Slowest = 10*time.Second, 10*time.Second
	want.Snapshots.Interval, want.Snapshots.MaxBytes, want.Snapshots.PerProcess = 0, 100<<20, 100<<20
	want.Storage.Retention, want.Storage.MaxBytes = 28*day, 3<<29
	want.TLS = TLS{"c.pem", "k.pem", "ca.pem"}
	want.Access.Operators, want.Access.AllowChanges = []string{"ops"}, true
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
}

func TestParseSays(t *testing.T) {
	for text, want := range map[string]string{
		"lisen: x":                                                     `1:1: "lisen" is no key here; did you mean listen?`,
		"retention: 15d":                                               `1:1: "retention" is no key here; it belongs to storage`,
		"schema: heapwright.serve/2":                                   `1:9: schema: "heapwright.serve/2" is not known: this heapwright reads heapwright.serve/1`,
		"listen: 9090":                                                 `1:9: listen: "9090" is no address: write 127.0.0.1:4327`,
		"listen: 127.0.0.1:http":                                       `1:9: listen: "http" is no port: a number from 1 to 65535, or 0 for any that is free`,
		"listen: a b:1":                                                `1:9: listen: "a b" is no host: write an address of this machine, such as 127.0.0.1`,
		"external_url: heap.example.com":                               `1:15: external_url: "heap.example.com" is no URL: write https://prometheus.example.com`,
		"external_url: https://x.example/heap":                         `1:15: external_url: "https://x.example/heap" has a path: let the proxy serve heapwright under a name of its own`,
		"storage: {url: http://a:b@c}":                                 `1:16: storage.url: a password does not belong into a URL, which is shown: give a file with a token`,
		"storage: {token_file: x}":                                     `1:23: storage.token_file: it is for storage.url, which is not given`,
		"storage: {retention: 15}":                                     `1:22: storage.retention: "15" has no unit: write 15s, 15ms or 15m`,
		"storage: {retention: 1m}":                                     `1:22: storage.retention: 1m is not from 2h to 3660d`,
		"storage: {max_bytes: 1GB}":                                    `1:22: storage.max_bytes: "1GB" is no size: write 512MiB or 1.5GiB (B, KiB, MiB, GiB, TiB)`,
		"storage: {max_bytes: 1MiB}":                                   `1:22: storage.max_bytes: 1MiB is too small to be of use: 64MiB is the least`,
		"sampling: {interval: 1ms}":                                    `1:22: sampling.interval: 1ms is not from 200ms to 1m`,
		"sampling:\n  fastest: 100ms":                                  `2:12: sampling.fastest: 100ms is not from 200ms to 1m`,
		"sampling:\n  fastest: 2s":                                     `2:12: sampling.fastest: 2s is longer than the interval, 1s`,
		"sampling:\n  slowest: 500ms":                                  `2:12: sampling.slowest: 500ms is shorter than the interval, 1s`,
		"snapshots: {per_process_bytes: 2GiB}":                         `1:32: snapshots.per_process_bytes: 2GiB is more than all together may take, 1GiB`,
		"discovery:\n  include: [\"a[\"]":                              `2:13: discovery.include[0]: "a[" is no pattern: write a part of a name, or nats-*`,
		"discovery: {max_processes: 0}":                                `1:28: discovery.max_processes: 0 is not from 1 to 10000`,
		"tls: {cert_file: x}":                                          `1:18: tls.cert_file: a certificate needs its key: set tls.key_file too`,
		"tls: {key_file: x}":                                           `1:17: tls.key_file: a key needs its certificate: set tls.cert_file too`,
		"tls: {client_ca_file: x}":                                     `1:23: tls.client_ca_file: clients show certificates over TLS only: set tls.cert_file and tls.key_file too`,
		"access: {operators: [x]}":                                     `1:10: access.operators: these are names of client certificates: set tls.client_ca_file too`,
		"access: {allow_changes: true}":                                `1:25: access.allow_changes: nobody is an operator: set access.operator_token_file, access.operators, or access.loopback_operator`,
		"access: {loopback_operator: true}":                            `1:29: access.loopback_operator: operators can do nothing more than readers without access.allow_changes: true`,
		"access: {allowed_hosts: [http://x]}":                          `1:26: access.allowed_hosts[0]: "http://x" is no host name: write heapwright.example.com, without a scheme`,
		"alerts: {rules: [{name: a b, signal: goroutines, above: 5}]}": `1:25: alerts.rules[0].name: "a b" is not a word of 1 to 100 letters, digits and dashes`,
		"alerts:\n  rules:\n  - {name: x, signal: rss}":                `3:23: alerts.rules[0].signal: "rss" is none of`,
		"alerts:\n  rules:\n  - {name: x, signal: rss_bytes}":          `3:5: alerts.rules[0]: one of above and below has to be set`,
		"alerts:\n  rules:\n  - {name: x, severity: bad}":              `3:25: alerts.rules[0].severity: `,
		"alerts: {rules: [{name: x, disabled: true}, {name: x, disabled: true}]}": `1:52: alerts.rules[1].name: there are two rules "x"`,
		"alerts: {repeat: 5s}":                                    `1:18: alerts.repeat: less than a minute`,
		"alerts: {webhooks: [{url: ftp://x}]}":                    `1:27: alerts.webhooks[0].url: "ftp://x" is not an http or https address`,
		"alerts: {alertmanagers: [{url: http://x, timeout: 1h}]}": `1:51: alerts.alertmanagers[0].timeout: not from 0 to 5m`,
		"forward: {remote_write: [{url: http://x}]}":              `1:32: forward.remote_write[0].url: write the whole URL, with the path: http://prometheus.example:9090/api/v1/write`,
		"forward: {otlp: [{name: x}]}":                            `1:18: forward.otlp[0].url: it is missing: write http://collector.example:4318/v1/metrics`,
		"log: {level: warning}":                                   `1:14: log.level: "warning" is not known; it is one of debug, info, warn, error`,
		"experiments: {dirs: [\"\"]}":                             `1:22: experiments.dirs[0]: write a directory that has results of heapwright compare`,
	} {
		_, err := Parse("x.yaml", []byte(text))
		if err == nil {
			t.Errorf("%q is taken", text)
		} else if got := err.Error(); !strings.HasPrefix(got, "x.yaml:"+want) || strings.Contains(got, "\n") {
			t.Errorf("%q:\n got %s\nwant x.yaml:%s", text, got, want)
		}
	}
}

func TestAlertsAndForward(t *testing.T) {
	f, err := Parse("x.yaml", []byte(`
alerts:
  rules:
  - {name: tight, signal: headroom_ratio, below: 0.05, for: 2m, with: [{signal: goroutines, above: 100}]}
  - {name: bad, severity: critical, signal: finding, level: critical}
  repeat: 1d
  labels: {team: a}
forward:
  remote_write:
  - {url: "https://p.example/api/v1/write", headers: {X-Scope-OrgID: a}, tls: {ca_file: ca.pem}, backfill: 2d}
`))
	if err != nil {
		t.Fatal(err)
	}
	tight, bad := f.Alerts.Rules[0], f.Alerts.Rules[1]
	if tight.Severity != diagnose.Warning || *tight.Below != 0.05 || tight.For != 2*time.Minute || *tight.With[0].Above != 100 || bad.Severity != diagnose.Critical || *bad.Level != diagnose.Critical {
		t.Errorf("%+v", f.Alerts)
	}
	if d := f.Forward.RemoteWrite[0]; d.TLS.CAFile != "ca.pem" || d.Backfill != 2*day || f.Alerts.Repeat != day {
		t.Errorf("%+v", f.Forward)
	}
	var got []string
	for _, c := range Diff(Default(), f) {
		got = append(got, c.String())
	}
	want := []string{
		`alerts.rules: [] -> [{name: tight, severity: warning, signal: headroom_ratio, below: 0.05, for: 2m, with: [{signal: goroutines, above: 100}]}, {name: bad, severity: critical, signal: finding, level: critical}]`,
		`alerts.repeat: 0 -> 1d`,
		`alerts.labels: {} -> {team: a}`,
		`forward.remote_write: [] -> [{url: "https://p.example/api/v1/write", headers: {X-Scope-OrgID: a}, tls: {ca_file: ca.pem}, backfill: 2d}] (needs a restart)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWatches(t *testing.T) {
	for _, c := range []struct {
		d    Discovery
		want bool
	}{
		{Discovery{}, true},
		{Discovery{Include: []string{"nats"}}, true},
		{Discovery{Include: []string{"n*r"}}, true},
		{Discovery{Include: []string{"github.com/nats-io/"}}, true},
		{Discovery{Include: []string{"caddy"}}, false},
		{Discovery{Exclude: []string{"nats-*"}}, false},
		{Discovery{Include: []string{"nats"}, Exclude: []string{"server"}}, false},
		{Discovery{Include: []string{"caddy", "nats"}, Exclude: []string{"etcd"}}, true},
	} {
		if got := c.d.Watches("nats-server", "github.com/nats-io/nats-server/v2", ""); got != c.want {
			t.Errorf("%+v: %v", c.d, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "15d": 15 * day, "1.5d": 36 * time.Hour, "2w": 14 * day, "90m": 90 * time.Minute, "1m30s": 90 * time.Second} {
		got, err := parseDuration(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
		if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
			t.Errorf("%s is written %s", s, formatDuration(got))
		}
	}
	for _, s := range []string{"d", "-1d", "1y", "999999w", "1d12h", "NaNd"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%s is taken for %v", s, got)
		}
	}
	for _, b := range []Bytes{0, 1, 1023, 1 << 10, 3 << 29, 1 << 30, 1<<30 + 1} {
		if again, err := parseBytes(b.String()); err != nil || again != b {
			t.Errorf("%d is written %s, %v", int64(b), b, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#\n"), strictyaml.MaxFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

func TestDiff(t *testing.T) {
	a, b := Default(), Default()
	b.Sampling.Interval = 2 * time.Second
	b.Discovery.Exclude = []string{"a", "b c"}
	b.Listen = "127.0.0.1:1"
	b.Storage.MaxBytes = 1 << 30
	var got []string
	for _, c := range Diff(a, b) {
		got = append(got, c.String())
	}
	want := []string{
		`listen: "127.0.0.1:4327" -> "127.0.0.1:1" (needs a restart)`,
		`discovery.exclude: [] -> [a, "b c"]`,
		`sampling.interval: 1s -> 2s`,
		`storage.max_bytes: 0 -> 1GiB (needs a restart)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for p := range strings.SplitSeq(restarts, " ") {
		if keyOf(p).path == "" {
			t.Errorf("%s needs a restart, and is no key", p)
		}
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		want string
	}{
		{map[string]string{"STATE_DIRECTORY": "/var/lib/private/heapwright", "HOME": "/root"}, 0, "/var/lib/private/heapwright"},
		{map[string]string{"HOME": "/root"}, 0, "/var/lib/heapwright"},
		{map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, 1000, "/s/heapwright/agent"},
		{map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "s"}, 1000, "/home/a/.local/state/heapwright/agent"},
		{nil, 1000, ""},
	} {
		if got := StateDir(func(k string) string { return c.env[k] }, c.uid); got != c.want {
			t.Errorf("%v, %d: %s, want %s", c.env, c.uid, got, c.want)
		}
	}
}

// TestKeysAreAll holds what is said of the keys against what the file has.
func TestKeysAreAll(t *testing.T) {
	var have, want []string
	for _, k := range keys {
		have = append(have, k.path)
		if last := k.path[strings.LastIndexByte(k.path, '.')+1:]; k.text == "" && !slices.Contains([]string{"above", "below", "url", "username"}, last) {
			t.Errorf("%s has no text", k.path)
		}
	}
	for _, p := range strictyaml.KeyPaths(reflect.TypeFor[File]()) {
		p = regexp.MustCompile(`^forward\.[a-z_]+\[\]`).ReplaceAllString(p, "forward.*[]")
		if !slices.Contains(want, p) {
			want = append(want, p)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("keys are\n%s\nand the file has\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

// TestExamples reads what is commented out in the annotated file.
func TestExamples(t *testing.T) {
	for _, k := range keys {
		if k.example == "" {
			continue
		}
		section := k.path
		if f := reflect.ValueOf(Default()).Elem(); !isSection(find(f, k.path)) {
			section, _, _ = strings.Cut(k.path, ".")
			if section == k.path {
				section = ""
			}
		}
		text := k.example
		if section != "" {
			text = section + ":\n  " + strings.ReplaceAll(k.example, "\n", "\n  ")
		}
		if k.path == "storage.token_file" {
			text += "\n  url: https://prometheus.example.com"
		}
		if _, err := Parse(k.path, []byte(text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

func TestDocument(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "CONFIG.md")
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys: made by go test ./internal/config -update -->\n", "<!-- end of keys -->\n"
	head, rest, ok := strings.Cut(string(doc), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/CONFIG.md has no place for the keys")
	}
	want := head + begin + "\n" + Table() + "\n" + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(doc) != want {
		t.Error("docs/CONFIG.md is not what the keys are: run go test ./internal/config -update")
	}
	// The examples are configurations, here and in the manual of serve.
	manual, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "SERVE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(doc)+string(manual), -1) {
		if _, err := Parse("example.yaml", []byte(m[1])); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := Annotated(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("listen: 127.0.0.1:0\nsampling: {interval: 10s, adaptive: false}\n"))
	f.Add([]byte("access: {operators: [a], allow_changes: true}\ntls: {cert_file: a, key_file: b, client_ca_file: c}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := Parse("x.yaml", text)
		if err != nil {
			var errs *strictyaml.Errors
			if !errors.As(err, &errs) || len(errs.Problems) == 0 || len(errs.Problems) > strictyaml.MaxProblems {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := Parse("x.yaml", text)
		if err != nil || len(Diff(a, again)) != 0 {
			t.Errorf("read twice: %v", err)
		}
		for _, c := range Diff(Default(), a) {
			if c.Key == "" || c.Old == c.New {
				t.Errorf("%+v", c)
			}
		}
	})
}
