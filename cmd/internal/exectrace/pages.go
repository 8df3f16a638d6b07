package exectrace

import "github.com/heapwright/heapwright/cmd/internal/diagnose/rule"

// The findings of traces are a group of their own, 50xx.
const (
	idTasks    = "HW5001"
	idAssist   = "HW5002"
	idStopping = "HW5003"
	idSteal    = "HW5004"
	idSweep    = "HW5005"
	idAlways   = "HW5006"
	idForced   = "HW5007"
	idNot      = "HW5090"
)

var (
	upToWarning = []rule.Severity{rule.Info, rule.Warning}
	onlyInfo    = []rule.Severity{rule.Info}
)

const since = "0.2"

// Pages are the manual pages of the findings. They have no Check: a trace is not a
// recording.
func Pages() []*rule.Rule { return pages }

var pages = []*rule.Rule{
	{
		ID: idTasks, Name: "tracetasks", Title: "GC is much of what slow requests took", Severities: upToWarning, Since: since,
		What: `The program marks its requests as tasks (runtime/trace.NewTask), and of what the slowest hundredth of one type took, 20% or
			more were assists, stops of the world, sweeping, and waiting for a P that marked.`,
		Why: `It is the one number that says whether GC is behind a tail latency.`,
		How: `A goroutine works for the task of the innermost region (runtime/trace.WithRegion) that it is in, else for the last task that it
			began itself. What GC costs it meanwhile is the task's. 20% of the time of the slowest hundredth is information, half of it a
			warning, given 20 tasks of the type.`,
		Remedy:      `HW5002 to HW5006 say which part of it is large, and what to do about that one.`,
		FalseAlarms: `A task for which many goroutines work at a time is charged for each of them: its share may exceed 100%.`,
	},
	{
		ID: idAssist, Name: "traceassist", Title: "Goroutines mark before they get memory", Severities: upToWarning, Since: since,
		What: `Goroutines that allocate while a cycle runs spend much of their time marking, or waiting for others to have marked enough.`,
		Why:  `It falls on those that serve requests, at the moment that they allocate, and no pause shows it.`,
		How: `Assisting and waiting in assists, of the time in which goroutines ran, could have run, or waited for the collector: 5% is
			information, 15% a warning, as with HW2002. It is information too when one kind of goroutine that uses 1% of the Ps spends
			20% so.`,
		Remedy:      `A higher GOGC, or GOMEMLIMIT where that sets the goal; fewer objects with pointers at the places named.`,
		FalseAlarms: `On a machine that is short of CPU an assist takes as long as its thread is off the CPU.`,
	},
	{
		ID: idStopping, Name: "tracestopping", Title: "A goroutine is late to stop", Severities: upToWarning, Since: since,
		What: `From the request to stop the world until the last P stood still, 1 ms and more went by, while all others waited.`,
		Why:  `A pause is as long as the longest stretch without a safepoint, whatever the collector does in it.`,
		How: `For each stop: which P was the last to be given up, what ran on it when the stop was asked for, where that stopped, and how much
			later than the last but one. 1 ms is information. A warning needs three stops of 10 ms, and one function that was 1 ms late at
			least three times and has half of all lateness.`,
		Remedy: `Cut up operations on very large blocks. Assembly and cgo callbacks need safepoints of their own. Take asyncpreemptoff=1 out of
			GODEBUG.`,
		FalseAlarms: `A thread that the kernel had taken off the CPU stops late too, wherever it is: then the functions differ from stop to stop.`,
	},
	{
		ID: idSteal, Name: "tracesteal", Title: "Goroutines wait for Ps that mark", Severities: upToWarning, Since: since,
		What: `Mark workers held Ps while goroutines that could run waited for one.`,
		Why:  `A quarter of the Ps marks while a cycle is on, and idle ones help. Where there are none to spare, requests queue.`,
		How: `While k workers run and n goroutines wait, each of them is charged k/n of the time, at most all: what they would not have waited
			without the workers. 5% of the time in which goroutines ran or wanted to is information. 20% is a warning, if the 99th percentile of the
			wait is longer while marking is on than while it is not.`,
		Remedy:      `Fewer cycles (GOGC, GOMEMLIMIT), or more CPU.`,
		FalseAlarms: `Batch work that nobody waits for.`,
	},
	{
		ID: idSweep, Name: "tracesweep", Title: "Goroutines sweep before they get memory", Severities: upToWarning, Since: since,
		What:        `Goroutines that allocate sweep spans first, which the background sweeper had not come to.`,
		Why:         `It is a cost of allocation that no pause and no assist shows.`,
		How:         `Sweeping of the time in which goroutines ran or wanted to: 5% is information, 15% a warning.`,
		Remedy:      `Allocate less; a higher GOGC, so that each cycle leaves fewer spans for each byte allocated.`,
		FalseAlarms: `A thread that is off the CPU within a sweep sweeps long.`,
	},
	{
		ID: idAlways, Name: "tracealways", Title: "Marking is on most of the time", Severities: upToWarning, Since: since,
		What:        `Mark phases fill half of the trace or more.`,
		Why:         `While marking is on, a quarter of the CPU is gone, each write of a pointer costs more, and allocation is taxed by assists.`,
		How:         `The time of mark phases over the time of the trace, given three cycles: half is information, 80% a warning.`,
		Remedy:      `More room above the live heap: GOGC, GOMEMLIMIT, or a smaller live heap.`,
		FalseAlarms: `A machine that is short of CPU marks slowly.`,
	},
	{
		ID: idForced, Name: "traceforced", Title: "The program stops its own world", Severities: upToWarning, Since: since,
		What:        `The world is stopped again and again for something other than GC: runtime.ReadMemStats, stacks of all goroutines, GOMAXPROCS.`,
		Why:         `Each stop makes every goroutine wait, and the first to stop waits for the last.`,
		How:         `Five such stops in a second are information; a hundredth of the time is a warning. Starting and stopping the trace itself do not count.`,
		Remedy:      `Read runtime/metrics, which stops nothing; take dumps less often.`,
		FalseAlarms: `A profile that was taken while the trace ran.`,
	},
	{
		ID: idNot, Name: "tracenotgc", Title: "It is not GC", Severities: onlyInfo, Since: since,
		What: `A collection ran in the trace, and what it cost goroutines is below 5% of the time in which they ran or wanted to, or
			that time is next to nothing.`,
		Why: `Knowing what it is not saves the search.`,
		How: `No finding is a warning, and the sum of assists, waiting in them, standing still, sweeping and waiting for Ps that mark is below 5%; or
			goroutines ran or wanted to for less than 0.1 s in each second, all together: then no share means much, and HW5002 and
			HW5004 to HW5006 say nothing.`,
		Remedy:      `Look elsewhere: CPU and blocking profiles, what the tasks wait for.`,
		FalseAlarms: `A trace that did not meet the moment: with few cycles the confidence is medium.`,
	},
}
