package peers

import "time"

// Heapwright is the guard that the others are compared with.
const Heapwright = "heapwright"

// Plain is no guard.
const Plain = "plain"

// Guards are all there are, in the order of tables.
var Guards = []string{Plain, "automemlimit", "otel", "gozero", "gozero+automemlimit", "failsafe", "failsafe+automemlimit", Heapwright}

// What a service has, and what is asked of it while all is well: it uses about half
// of its CPU then. A request allocates 2 MiB, half of which lives until it is
// answered; 40 MiB live always.
var (
	DefaultBox        = Box{MemoryBytes: 160 << 20, Cores: 0.4}
	DefaultRate       = 35.0
	DefaultDependency = 20 * time.Millisecond
	DefaultPhases     = Phases{Warm: 5 * time.Second, Healthy: 6 * time.Second, Fault: 15 * time.Second, After: 25 * time.Second}
)

// Faults are what happens.
var Faults = []Fault{
	{Name: "overload", What: "more than twice the requests that it can serve", Rate: 200},
	{Name: "slow", What: "the dependency takes 700 ms and not 20", Dependency: 700 * time.Millisecond, Rate: 60},
	{Name: "storm", What: "a job in the service keeps 40 MiB and allocates 60 MiB a second", StormLive: 40, StormRate: 60},
	{Name: "squeeze", What: "another process takes half of the cgroup's memory within 6 s", NeighbourBytes: 80 << 20, NeighbourOver: 6 * time.Second},
}

// FaultNamed finds a fault.
func FaultNamed(name string) (Fault, bool) {
	for _, f := range Faults {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}
