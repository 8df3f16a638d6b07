package stress

// BreakerPlan exercises the numbers that are often quoted for a breaker: it trips when
// the 99th percentile of the pauses was above 15 ms in a fifth of the last 300 s, six
// evaluations of 10 s, and cools down for 60 s. A healthy Go service has no such pauses.
// This one computes in loops that cannot be preempted while collections are forced.
const BreakerPlan = `schema: heapwright.stress/1
name: breaker
target:
  start:
    command: ["{{.stresssubject}}"]
    args: ["-addr", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}", "-violate", "pauses", "-breaker"]
    env: {GODEBUG: "asyncpreemptoff=1"}
    ready: {http: "http://127.0.0.1:{port}/readyz"}
  memory_limit: 320MiB
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/work"
  rate: 20/s
  timeout: 5s
before: 15s
recovery: {within: 120s, stable: 5s}
hypothesis:
- {metric: restarts, at_most: 0}
- {metric: guard_state, at_most: 0, tolerated: 2}
- {metric: pause_p99_seconds, at_most: 15ms, tolerated: 1s, for: 20s}
- {metric: error_ratio, at_most: 1%, tolerated: 100%, for: 3s}
abort:
- {metric: ready, at_least: 1, for: 60s}
- {metric: error_ratio, at_most: 100%}
- {metric: latency_p99_seconds, at_most: 60s}
- {metric: gc_cpu_ratio, at_most: 100%}
faults:
- {name: pauses, kind: gc.forced, level: 8/s, ramp: 1s, hold: 85s, expect: {degrade: true}}
`
