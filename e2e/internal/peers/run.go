package peers

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"
)

// A Block is a fault that happens to several guarded services at the same time.
type Block struct {
	Service    string // the path of its binary
	Dir        string // where sockets and logs are
	Self       []string
	Box        Box
	Phases     Phases
	Rate       float64 // requests a second while all is well
	Dependency time.Duration
	Fault      Fault
	Guards     []string
	Seed       uint64
	// Watch is called every second with what each guard says of itself, for people
	// who look for why; nil is nobody.
	Watch func(at time.Duration, guard string, memory uint64, status string)
}

// A Run is what came of one service in a block.
type Run struct {
	Guard   string    `json:"guard"`
	Fault   string    `json:"fault"`
	Block   int       `json:"block"`
	Started time.Time `json:"started"`
	Box     Box       `json:"box"`
	Score   Score     `json:"score"`
	// Kills are of the kernel, for the cgroup's memory limit, from the onset of the
	// fault on; EarlyKills before it.
	Kills      int `json:"oom_kills"`
	EarlyKills int `json:"early_oom_kills,omitempty"`
	// CPU is what a request cost while all was well, in seconds of CPU, all in all.
	CPU float64 `json:"cpu_seconds_per_request"`
	// Series has a value for every second of the run, with that of warm-up.
	Series Series `json:"series"`
	// MachineCores is the CPU that everything on the machine used, in cores.
	MachineCores float64 `json:"machine_cores"`
}

// A Series is a run over time.
type Series struct {
	Good    []int `json:"good"`
	Refused []int `json:"refused"`
	Lost    []int `json:"lost"` // late, timed out or failed
	MiB     []int `json:"mib"`  // charged to the cgroup, without page cache
}

// Run runs the block. Services are started in the order of Guards.
func (b Block) Run(ctx context.Context) (runs []Run, err error) {
	var services []*Service
	stop := func() (deaths [][]Death) {
		for _, s := range services {
			d, stopErr := s.Stop()
			deaths = append(deaths, d)
			err = errors.Join(err, stopErr)
		}
		services = nil
		return deaths
	}
	defer stop()
	for _, guard := range b.Guards {
		s, err := StartService(ctx, b.Service, guard, b.Dir, b.Box, "-dependency", b.Dependency.String())
		if err != nil {
			return nil, err
		}
		services = append(services, s)
	}
	begin := time.Now()
	started := begin
	machine := machineCPU()
	runs = make([]Run, len(services))
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, s := range services {
		s.Begin(begin)
		runs[i] = Run{Guard: s.Guard, Fault: b.Fault.Name, Started: started, Box: b.Box}
		all.Go(func() { errs[i] = b.one(ctx, s, begin, &runs[i]) })
	}
	all.Wait()
	cores := (machineCPU() - machine) / time.Since(begin).Seconds()
	for i, deaths := range stop() {
		runs[i].MachineCores = cores
		for _, d := range deaths {
			if d.At < b.Phases.onset() {
				runs[i].EarlyKills++
			} else {
				runs[i].Kills++
			}
		}
	}
	return runs, errors.Join(err, errors.Join(errs...), ctx.Err())
}

// one is a block for one service.
func (b Block) one(ctx context.Context, s *Service, begin time.Time, r *Run) error {
	p := b.Phases
	var cpu [2]float64 // at the begin and the end of the healthy phase
	series := Series{MiB: make([]int, int(p.Length()/time.Second))}
	var others sync.WaitGroup
	var faultErr error
	others.Go(func() {
		sleepUntil(ctx, begin.Add(p.Warm))
		cpu[0] = s.CPUSeconds()
		sleepUntil(ctx, begin.Add(p.onset()))
		cpu[1] = s.CPUSeconds()
		end, err := b.Fault.begin(s, p.Fault, b.Dependency, b.Self)
		faultErr = err
		sleepUntil(ctx, begin.Add(p.end()))
		end()
	})
	others.Go(func() {
		for n := range series.MiB {
			sleepUntil(ctx, begin.Add(time.Duration(n)*time.Second+500*time.Millisecond))
			if ctx.Err() != nil {
				return
			}
			memory := s.MemoryBytes()
			series.MiB[n] = int(memory >> 20)
			if b.Watch != nil {
				b.Watch(time.Since(begin)-p.onset(), s.Guard, memory, s.Status())
			}
		}
	})
	// All services get the same requests at the same time.
	requests := NewLoad(s.Socket, begin, b.Seed).Run(ctx, p.Length(), func(at time.Duration) float64 {
		if at >= p.onset() && at < p.end() && b.Fault.Rate > 0 {
			return b.Fault.Rate
		}
		return b.Rate
	})
	others.Wait()
	r.Score = Judge(requests, p)
	if n := r.Score.Healthy.Due; n > 0 {
		r.CPU = (cpu[1] - cpu[0]) / float64(n)
	}
	series.Good = make([]int, len(series.MiB))
	series.Refused = make([]int, len(series.MiB))
	series.Lost = make([]int, len(series.MiB))
	for _, q := range requests {
		at := min(int(q.Due/time.Second), len(series.MiB)-1)
		switch {
		case q.Good():
			series.Good[at]++
		case q.Outcome == Refused:
			series.Refused[at]++
		default:
			series.Lost[at]++
		}
	}
	r.Series = series
	return faultErr
}

func sleepUntil(ctx context.Context, t time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(t)):
	}
}

// machineCPU is what all of the machine has used, in seconds of CPU.
func machineCPU() float64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks float64
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		var v float64
		for _, c := range f {
			v = v*10 + float64(c-'0')
		}
		ticks += v
	}
	return ticks / 100 // USER_HZ
}
