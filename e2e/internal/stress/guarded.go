package stress

import "fmt"

// Guards are what e2e/guarded can be behind in these plans: nothing, and ours.
var Guards = []string{"plain", "heapwright"}

// GuardedPlan has a service with a guard, or with none, meet what brings small pods
// down: memory that is kept, in a container that has little, and a crowd.
func GuardedPlan(guard string, seed uint64) string {
	return fmt.Sprintf(`schema: heapwright.stress/1
name: behind %s
seed: %d
target:
  start:
    command: ["{{.guarded}}"]
    args: ["-guard", %q, "-listen", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}", "-admin", "127.0.0.1:{port3}"]
    ready: {http: "http://127.0.0.1:{port}/healthz"}
  memory_limit: 160MiB
  cpu_quota: 1
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/work"
  rate: 20/s
  connections: 64
  timeout: 2s
before: 8s
between: 2s
recovery: {within: 40s, stable: 5s, memory: 60s, working_set: 40%%, live_heap: 15%%}
hypothesis:
- {metric: oom_kills, at_most: 0}
- {metric: restarts, at_most: 0}
- {metric: error_ratio, at_most: 2%%, tolerated: 95%%, for: 3s}
- {metric: latency_p99_seconds, at_most: 1.2s, tolerated: 2.5s, for: 5s}
abort:
- {metric: error_ratio, at_most: 100%%}
- {metric: ready, at_least: 1, for: 30s}
- {metric: latency_p99_seconds, at_most: 10s, for: 10s}
- {metric: headroom_seconds, at_least: 0}
- {metric: headroom_ratio, at_least: 0}
- {metric: limit_events, at_most: 1000000}
- {metric: gc_cpu_ratio, at_most: 100%%}
- {metric: gc_limiter_on, at_most: 1}
- {metric: memory_full_ratio, at_most: 100%%}
caps: {memory: 256MiB}
faults:
- {name: kept, kind: heap.pointers, level: 36MiB, ramp: 3s, hold: 8s, allow_kill: true}
- {name: storm, kind: heap.churn, level: 15MiB/s, ramp: 2s, hold: 8s}
- {name: neighbour, kind: sibling, level: 48MiB, ramp: 3s, hold: 8s, allow_kill: true}
`, guard, seed, guard)
}
