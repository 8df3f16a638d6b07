package debugz

import (
	"time"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/fault"
	"github.com/heapwright/heapwright/memlimit"
)

// Schema is the schema of the JSON document.
const Schema = "heapwright.debugz/1"

// A document is what there is to show at one instant: the JSON, and what the page is
// made of. Bytes, unless a name says otherwise. Pointers are nil for what is not
// known.
type document struct {
	Schema   string           `json:"schema"`
	Time     time.Time        `json:"time"`
	Process  processDoc       `json:"process"`
	Settings []settingDoc     `json:"settings"`
	Memory   memoryDoc        `json:"memory"`
	Limit    *memlimit.Report `json:"limit"`
	Guard    *guard.Status    `json:"guard"`
	Signals  []signalDoc      `json:"signals"`
	Window   float64          `json:"signals_window_seconds"`
	History  historyDoc       `json:"history"`
	Metrics  []metricDoc      `json:"metrics"`
	Change   changeDoc        `json:"change"`
	Faults   *fault.Status    `json:"faults"`
	Problems []string         `json:"problems"`

	evidence bool // files of the guard's evidence may be downloaded
}

// A processDoc says which process this is. It has nothing of its arguments and its
// environment.
type processDoc struct {
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/self/stat, which with the PID names one process
	// of a host for ever; nil where there is no such file.
	StartTicks *uint64   `json:"start_ticks"`
	StartTime  time.Time `json:"start_time"` // of this package, which is the process's but for moments
	Name       string    `json:"name"`       // of the executable, without its directory
	Main       string    `json:"main_package,omitempty"`
	Module     string    `json:"module,omitempty"`
	Version    string    `json:"module_version,omitempty"`
	Revision   string    `json:"vcs_revision,omitempty"`
	Modified   bool      `json:"vcs_modified,omitempty"`
	Heapwright string    `json:"heapwright_version,omitempty"`
	Go         string    `json:"go_version"`
	GOOS       string    `json:"goos"`
	GOARCH     string    `json:"goarch"`
	CPUs       int       `json:"cpus"`
}

// A settingDoc is a setting of the runtime, and where it is from.
type settingDoc struct {
	Name  string `json:"name"`  // GOGC, GOMEMLIMIT, GOMAXPROCS
	Value int64  `json:"value"` // GOGC: -1 is off; GOMEMLIMIT: math.MaxInt64 is none
	SetBy string `json:"set_by"`
	Why   string `json:"why,omitempty"`
}

// A memoryDoc is where the memory is. The parts from LiveBytes to NonGoBytes do not
// overlap, and ReserveBytes is free.
type memoryDoc struct {
	LimitBytes    *uint64 `json:"limit_bytes"` // of the container, or as given
	LiveBytes     uint64  `json:"live_bytes"`  // heap that the last collection found alive
	GarbageBytes  uint64  `json:"garbage_bytes"`
	FreeBytes     uint64  `json:"free_bytes"`
	StackBytes    uint64  `json:"stack_bytes"`
	OtherGoBytes  uint64  `json:"other_go_bytes"`
	NonGoBytes    *uint64 `json:"non_go_bytes"`
	ReserveBytes  *uint64 `json:"reserve_bytes"`
	GoalBytes     uint64  `json:"heap_goal_bytes"`
	ReleasedBytes uint64  `json:"released_bytes"` // given back to the system, not in use
	Cycles        uint64  `json:"gc_cycles"`
}

// used is what the parts come to.
func (m *memoryDoc) used() uint64 {
	n := m.LiveBytes + m.GarbageBytes + m.FreeBytes + m.StackBytes + m.OtherGoBytes
	if m.NonGoBytes != nil {
		n += *m.NonGoBytes
	}
	return n
}

type signalDoc struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// A historyDoc has the same number of values in each series as there are times.
type historyDoc struct {
	Times  []time.Time  `json:"times"`
	Series []historyRow `json:"series"`
}

type historyRow struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"` // nil where it was not known
}

type metricDoc struct {
	Name   string            `json:"name"`
	Unit   string            `json:"unit,omitempty"`
	Kind   string            `json:"kind"`
	Help   string            `json:"help,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  *float64          `json:"value"` // nil: not a number, or infinite
}

// A changeDoc says whether settings may be changed here.
type changeDoc struct {
	Allowed bool            `json:"allowed"`
	Active  *memlimit.Lease `json:"active"`
}
