package stress

import (
	"fmt"
	"slices"
)

// A Case is a run of e2e/stresssubject of which the outcome is known.
type Case struct {
	Name    string
	Violate string // "" is healthy
	// Caught are what the report has to hold against it: any of these, as Report.Wrong
	// names them.
	Caught []string
	// Verdicts are those that are right.
	Verdicts []string
	plan     string
}

// Plan is the case's plan.
func (c Case) Plan() string { return c.plan }

// Right says what is wrong with a verdict, "" when it is right.
func (c Case) Right(r *Result) string {
	if !slices.Contains(c.Verdicts, r.Report.Verdict) {
		return fmt.Sprintf("%s, not %v: %s %v%.300s", r.Report.Verdict, c.Verdicts, r.Report.Reason, r.Report.Wrong(), r.Stderr)
	}
	if len(r.Report.Left) > 0 {
		return fmt.Sprintf("left behind: %q", r.Report.Left)
	}
	if c.Violate == "" || len(c.Caught) == 0 {
		return ""
	}
	wrong := r.Report.Wrong()
	if r.Report.Aborted != nil {
		wrong = append(wrong, "abort")
	}
	for _, w := range wrong {
		if slices.Contains(c.Caught, w) {
			return ""
		}
	}
	return fmt.Sprintf("%s, but for %q and not for any of %q: %s", r.Report.Verdict, wrong, c.Caught, r.Report.Reason)
}

// The faults that subjects meet: each is mild beside a limit of 320 MiB.
var mild = []string{
	"{kind: heap.churn, level: 30MiB/s, ramp: 2s, hold: 5s}",
	"{kind: heap.retain, level: 40MiB, ramp: 2s, hold: 4s}",
	"{kind: goroutines, level: 2000, ramp: 2s, hold: 4s}",
	"{kind: heap.pointers, level: 24MiB, ramp: 2s, hold: 4s}",
	"{kind: sibling, level: 60MiB, ramp: 2s, hold: 4s}",
	"{kind: stacks, level: 16MiB, size: 64KiB, ramp: 2s, hold: 4s}",
	"{kind: finalizers, level: 2000/s, ramp: 2s, hold: 4s}",
	"{kind: heap.large, level: 32MiB, size: 1MiB, ramp: 2s, hold: 4s}",
	"{kind: pagecache, level: 60MiB, ramp: 2s, hold: 4s}",
	"{kind: heap.off, level: 32MiB, ramp: 2s, hold: 4s}",
}

// Healthy are n runs of a service that takes what comes.
func Healthy(n int) (all []Case) {
	for i := range n {
		all = append(all, Case{
			Name: fmt.Sprintf("healthy-%02d", i+1), Verdicts: []string{"PASS"},
			plan: subjectPlan("", uint64(i+1), mild[i%len(mild)], mild[(i+3)%len(mild)]),
		})
	}
	return all
}

// Violations are runs of a service that does one thing wrong.
func Violations() (all []Case) {
	deviated, aborted := []string{"DEVIATED", "ABORTED"}, []string{"ABORTED", "DEVIATED"}
	for _, c := range []Case{
		{Violate: "ill", Verdicts: []string{"NOT-RUN"}},
		{Violate: "errors", Verdicts: aborted, Caught: []string{"error_ratio", "abort"}},
		{Violate: "slow", Verdicts: aborted, Caught: []string{"latency_p99_seconds", "abort"}},
		{Violate: "stuck", Verdicts: aborted, Caught: []string{"latency_p99_seconds", "recovery:latency", "abort"}},
		{Violate: "unready", Verdicts: aborted, Caught: []string{"ready", "recovery:ready", "abort"}},
		{Violate: "goroutines", Verdicts: deviated, Caught: []string{"goroutines", "recovery:goroutines", "recovery:growth"}},
		{Violate: "retained", Verdicts: deviated, Caught: []string{"recovery:live_heap", "recovery:working_set"}},
		{Violate: "growth", Verdicts: deviated, Caught: []string{"recovery:growth", "recovery:live_heap", "recovery:working_set"}},
		{Violate: "offheap", Verdicts: deviated, Caught: []string{"recovery:working_set"}},
		{Violate: "gccpu", Verdicts: deviated, Caught: []string{"gc_cpu_ratio", "abort"}},
		{Violate: "exits", Verdicts: aborted, Caught: []string{"restarts", "ready", "abort"}},
		{Violate: "oom", Verdicts: aborted, Caught: []string{"headroom_ratio", "headroom_bytes", "limit_events", "oom_kills", "abort"}},
		{Violate: "guardstuck", Verdicts: deviated, Caught: []string{"recovery:guard", "recovery:errors", "error_ratio"}},
	} {
		c.Name = "violation-" + c.Violate
		c.plan = subjectPlan(c.Violate, 1, mild[0])
		all = append(all, c)
	}
	return all
}

// subjectPlan is a plan for e2e/stresssubject.
func subjectPlan(violate string, seed uint64, faults ...string) string {
	plan := fmt.Sprintf(`schema: heapwright.stress/1
seed: %d
target:
  start:
    command: ["{{.stresssubject}}"]
    args: ["-addr", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}", "-violate", %q]
    ready: {http: "http://127.0.0.1:{port}/readyz"}
  memory_limit: 320MiB
  ready: "http://127.0.0.1:{port}/readyz"
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/work"
  rate: 50/s
  connections: 16
  timeout: 5s
before: 8s
between: 1s
recovery: {within: 25s, stable: 3s, memory: 40s, watch: 8s}
faults:
`, seed, violate)
	for _, f := range faults {
		plan += "- " + f + "\n"
	}
	return plan
}
