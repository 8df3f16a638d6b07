package stress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/heapwright/heapwright/e2e/servers"
)

// A Subject is a server that faults happen to.
type Subject struct {
	Name   string
	Server servers.Server // with a Recipe where it is one that nobody here wrote
	// start is the target's and the load's part of its plan.
	start string
	// depends is the address of what it depends on, in place of the proxy's where its plan
	// has none; "" for none.
	depends string
	// Faults are the lines of the plan's faults, by kind.
	Faults map[string]string
	// Pace is how many times as long all lasts, and how many times fewer requests come,
	// for a slow machine; 0 is 1. Amounts stay.
	Pace int
}

var (
	wholeSeconds = regexp.MustCompile(`\b([0-9]+)s\b`)
	requestRate  = regexp.MustCompile(`\brate: ([0-9]+)/s`)
)

// paced has a plan's text take its time.
func (s Subject) paced(plan string) string {
	if s.Pace <= 1 {
		return plan
	}
	change := func(format string, by func(n int) int) func(string) string {
		return func(text string) string {
			n, err := strconv.Atoi(strings.Trim(text, "rate: s/"))
			if err != nil {
				return text // too long a number for a plan
			}
			return fmt.Sprintf(format, by(n))
		}
	}
	plan = wholeSeconds.ReplaceAllStringFunc(plan, change("%ds", func(n int) int { return n * s.Pace }))
	return requestRate.ReplaceAllStringFunc(plan, change("rate: %d/s", func(n int) int { return max(1, n/s.Pace) }))
}

// outside are faults that any server can meet. A memory limit of 256 MiB and a quota
// of one core are taken for granted.
func outside() map[string]string {
	return map[string]string{
		"limit.soft":  "{kind: limit.soft, level: 96MiB, ramp: 2s, hold: 3s}",
		"cpu.quota":   "{kind: cpu.quota, level: 0.08 cores, ramp: 1s, hold: 3s}",
		"connections": `{kind: connections, level: 200, address: "127.0.0.1:{port}", ramp: 1s, hold: 3s}`,
		"freeze":      "{kind: freeze, level: 500ms}",
		"pagecache":   "{kind: pagecache, level: 64MiB, ramp: 2s, hold: 2s}",
		"sibling":     "{kind: sibling, level: 64MiB, ramp: 2s, hold: 3s}",
		"shared":      "{kind: shared, level: 48MiB, ramp: 2s, hold: 2s}",
		"reclaim":     "{kind: reclaim, level: 60%, ramp: 1s, hold: 2s}",
		"limit.hard":  "{kind: limit.hard, level: 55%, ramp: 3s, steps: 4, hold: 3s}",
	}
}

// Subjects are the servers: three that nobody here wrote, and a service with hooks.
// upstream is the address of an HTTP server that is a dependency, leaf that of a NATS
// server which takes leaf nodes.
func Subjects(upstream, leaf string) []Subject {
	nats, caddy, etcd, inside := outside(), outside(), outside(), outside()
	delay := "{kind: proxy.delay, name: dependency, upstream: %q, level: 100ms, ramp: 1s, hold: 3s}"
	nats["proxy.delay"] = fmt.Sprintf(delay, leaf)
	caddy["proxy.delay"] = fmt.Sprintf(delay, upstream)
	caddy["proxy.hole"] = "{kind: proxy.hole, proxy: dependency, hold: 4s}"
	caddy["proxy.reset"] = "{kind: proxy.reset, proxy: dependency, hold: 4s}"
	for kind, line := range map[string]string{
		"heap.churn":     "{kind: heap.churn, level: 60MiB/s, ramp: 1s, hold: 3s}",
		"gc.forced":      "{kind: gc.forced, level: 4/s, ramp: 1s, hold: 3s}",
		"heap.retain":    "{kind: heap.retain, level: 40MiB, ramp: 1s, hold: 3s}",
		"heap.pointers":  "{kind: heap.pointers, level: 24MiB, ramp: 1s, hold: 3s}",
		"heap.large":     "{kind: heap.large, level: 32MiB, size: 1MiB, ramp: 1s, hold: 3s}",
		"heap.fragments": "{kind: heap.fragments, level: 32MiB, ramp: 1s, hold: 6s}",
		"goroutines":     "{kind: goroutines, level: 2000, ramp: 1s, hold: 3s}",
		"stacks":         "{kind: stacks, level: 16MiB, size: 64KiB, ramp: 1s, hold: 3s}",
		"finalizers":     "{kind: finalizers, level: 2000/s, ramp: 1s, hold: 3s}",
		"heap.off":       "{kind: heap.off, level: 32MiB, ramp: 1s, hold: 3s}",
	} {
		inside[kind] = line
	}
	// What links package guard is taken to set its own limit, and is not written to.
	delete(inside, "limit.soft")
	return []Subject{
		{Name: "nats", Server: servers.NATS, Faults: nats, depends: leaf, start: `    command: ["{{.nats}}"]
    args: ["-c", "{dir}/nats.conf"]
    files:
      nats.conf: |
        server_name: stressed
        host: 127.0.0.1
        port: {port}
        http: "127.0.0.1:{port2}"
        ping_interval: "1s"
        jetstream { store_dir: "{dir}/jetstream" }
        leafnodes { remotes = [ { url: "nats-leaf://{proxy.dependency}" } ] }
    ready: {http: "http://127.0.0.1:{port2}/healthz"}
  ready: "http://127.0.0.1:{port2}/healthz"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port2}/varz"
    - url: "http://127.0.0.1:{port2}/jsz"
  rate: 60/s
`},
		{Name: "caddy", Server: servers.Caddy, Faults: caddy, depends: upstream, start: `    command: ["{{.caddy}}"]
    args: ["run", "--config", "{dir}/Caddyfile", "--adapter", "caddyfile"]
    env: {HOME: "{dir}", XDG_DATA_HOME: "{dir}", XDG_CONFIG_HOME: "{dir}"}
    files:
      Caddyfile: |
        {
          admin off
          auto_https off
        }
        http://127.0.0.1:{port} {
          respond /healthz "ok"
          reverse_proxy "{proxy.dependency}"
        }
    ready: {http: "http://127.0.0.1:{port}/healthz"}
  ready: "http://127.0.0.1:{port}/healthz"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/page/{seq}"
  rate: 60/s
`},
		{Name: "etcd", Server: servers.Etcd, Faults: etcd, start: `    command: ["{{.etcd}}"]
    args: ["--name", "stressed", "--data-dir", "{dir}/data", "--log-level", "warn",
      "--listen-client-urls", "http://127.0.0.1:{port}", "--advertise-client-urls", "http://127.0.0.1:{port}",
      "--listen-peer-urls", "http://127.0.0.1:{port2}", "--initial-advertise-peer-urls", "http://127.0.0.1:{port2}",
      "--initial-cluster", "stressed=http://127.0.0.1:{port2}"]
    ready: {http: "http://127.0.0.1:{port}/health"}
  ready: "http://127.0.0.1:{port}/health"
load:
  http:
    requests:
    - {method: POST, url: "http://127.0.0.1:{port}/v3/kv/put", body: '{"key":"a2V5","value":"dmFsdWU="}'}
    - {method: POST, url: "http://127.0.0.1:{port}/v3/kv/range", body: '{"key":"a2V5"}'}
  rate: 40/s
`},
		{Name: "service", Faults: inside, start: `    command: ["{{.stresssubject}}"]
    args: ["-addr", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}", "-cache", "24"]
    ready: {http: "http://127.0.0.1:{port}/readyz"}
  ready: "http://127.0.0.1:{port}/readyz"
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/work"
  rate: 50/s
`},
	}
}

// Kinds are the kinds of faults that a subject meets, in order of their risk as the
// plan has them.
func (s Subject) Kinds() (kinds []string) {
	for _, k := range []string{
		"limit.soft", "cpu.quota", "heap.churn", "gc.forced", "heap.retain", "heap.pointers", "heap.large", "heap.fragments", "goroutines",
		"stacks", "finalizers", "proxy.delay", "proxy.hole", "proxy.reset", "connections", "heap.off", "freeze", "pagecache", "sibling", "shared", "reclaim", "limit.hard",
	} {
		if s.Faults[k] != "" {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// Plan has the subject meet faults of the given kinds, one after the other. It bears
// nearly anything: it is to be seen whether the faults happen and are taken back, and
// not how well the server takes them.
func (s Subject) Plan(kinds ...string) string {
	has := func(k string) bool { return slices.Contains(kinds, k) }
	if (has("proxy.hole") || has("proxy.reset")) && !has("proxy.delay") {
		kinds = append([]string{"proxy.delay"}, kinds...) // whose proxy they happen in
	}
	var b strings.Builder
	fmt.Fprintf(&b, "schema: heapwright.stress/1\nname: %s\ntarget:\n  memory_limit: 256MiB\n  cpu_quota: 1\n  start:\n", s.Name)
	start := s.start
	if !slices.Contains(kinds, "proxy.delay") {
		start = strings.ReplaceAll(start, "{proxy.dependency}", s.depends)
	}
	b.WriteString(start)
	b.WriteString(`before: 5s
between: 500ms
recovery: {within: 45s, stable: 1s, memory: 45s, latency: 100%}
hypothesis:
- {metric: restarts, at_most: 0}
- {metric: oom_kills, at_most: 0}
- {metric: error_ratio, at_most: 5%, tolerated: 50%, for: 5s}
- {metric: latency_p99_seconds, at_most: 1s, tolerated: 5s, for: 5s}
abort:
- {metric: latency_p99_seconds, at_most: 1m}
- {metric: error_ratio, at_most: 100%}
- {metric: ready, at_least: 1, for: 20s}
- {metric: gc_cpu_ratio, at_most: 100%}
faults:
`)
	for _, k := range kinds {
		b.WriteString("- " + s.Faults[k] + "\n")
	}
	return s.paced(b.String())
}

// Upstream serves a page of some KiB until the context ends, and returns its address.
func Upstream(ctx context.Context) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	page := strings.Repeat("heap ", 1<<10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page) })}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(l)
	return l.Addr().String(), nil
}

// A Met is what became of one fault on one subject.
type Met struct {
	Subject string
	Fault   Fault
	Problem string // "" when it happened, stayed inside, was undone and left nothing
}

// Check says of each fault of a run what is wrong with it.
func Check(subject string, r *Result) (met []Met) {
	for _, f := range r.Report.Faults {
		var wrong []string
		not := func(b *bool) bool { return b == nil || !*b }
		if !f.Happened {
			wrong = append(wrong, "it did not happen")
		}
		if not(f.Contained) {
			wrong = append(wrong, "it was not contained")
		}
		if not(f.Verified) {
			wrong = append(wrong, "it was not seen to be undone")
		}
		if f.Error != nil && *f.Error != "" {
			wrong = append(wrong, *f.Error)
		}
		if f.KilledTarget {
			wrong = append(wrong, "the target was killed")
		}
		met = append(met, Met{subject, f, strings.Join(wrong, "; ")})
	}
	return met
}

// A Tally counts, for tables.
type Tally struct {
	mu  sync.Mutex
	all []Met
}

// Add takes note.
func (t *Tally) Add(m ...Met) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, m...)
}

// All are those that were taken note of.
func (t *Tally) All() []Met {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}
