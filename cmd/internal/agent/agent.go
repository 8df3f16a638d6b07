// Package agent is what runs all the time: it finds the Go processes of a machine
// as they come and go, samples them as often as they are worth it, runs the diagnosis,
// keeps profiles, and hands everything to the store, the history, the vault and the
// alerts. It serves nothing to anybody and knows no file formats.
package agent

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A Host has processes and can read them.
type Host interface {
	Processes(ctx context.Context) ([]goproc.Entry, error)
	Attach(ctx context.Context, pid int) (Source, error)
}

// A Source is a process that can be read.
type Source interface {
	recorder.Source
	recorder.Snapshotter
	// Quick is Sample without what is dear to read of the kernel.
	Quick(*record.Sample) error
	// Forget lets go of the memory that a snapshot leaves behind for the next one.
	Forget()
	Process() record.Process
	Close() error
}

// A Process is what is known of one service's process now. What is not known is nil.
type Process struct {
	ID    string // stable over restarts: nats-server, nats-server:2
	Info  record.Process
	Up    bool
	First time.Time // when this life was first seen
	Seen  time.Time // the newest sample
	Ended time.Time // zero while it is up
	Lives int       // how many processes there were under this ID since the agent started

	Interval time.Duration // between samples, now
	Error    string        // why it is not read, "" when it is
	Hint     string
	Latest   *record.Sample // not to be changed; nil when there is none

	LimitBytes           *float64 // the memory that it may use
	LimitKind            string   // "container", "gomemlimit" or "host": whose limit that is
	HeadroomBytes        *float64
	HeadroomRatio        *float64 // of the limit
	GCCPURatio           *float64
	AssistRatio          *float64
	CyclesPerSecond      *float64
	AllocBytesPerSecond  *float64
	CPUCores             *float64
	GoroutineGrowthRatio *float64         // goroutines now over those some minutes ago, less one
	TimeToLimitSeconds   *float64         // until memory reaches its limit; 30 days when that is further or not in sight
	Outlook              *horizon.Outlook // what that is from; not to be changed; nil while too little is known

	Findings []diagnose.Finding
	Worst    *diagnose.Severity
	Trouble  float64 // for sorting: what a person should look at first, 0 to about 4
	Spark    Spark
}

// A Spark is the near past of a process in few numbers, oldest first; NaN is a gap.
type Spark struct {
	Step       time.Duration
	End        time.Time
	RSSBytes   []float64
	LiveBytes  []float64
	GCCPURatio []float64
}

// An Unseen is a process that may be Go and cannot be read.
type Unseen struct {
	PID    int
	Name   string
	Reason string
	Hint   string
}

// An Update is what subscribers get after each round of samples.
type Update struct {
	Time      time.Time
	Processes []Process                 // those with a new sample
	Cycles    map[string][]record.Cycle // that ended since the update before, by ID
}
