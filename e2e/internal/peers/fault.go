package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A Fault is what happens to a service for a while. Rates are requests a second.
type Fault struct {
	Name string `json:"name"`
	// What it is, for people.
	What string  `json:"-"`
	Rate float64 `json:"rate"` // while it lasts; 0 is the healthy rate
	// Dependency is how long the service's dependency takes.
	Dependency time.Duration `json:"dependency,omitempty"`
	// A job in the service keeps so many MiB, and allocates so many a second.
	StormLive, StormRate int `json:",omitempty"`
	// A neighbour in the same memory cgroup takes so many bytes, over a time.
	NeighbourBytes uint64        `json:"neighbour_bytes,omitempty"`
	NeighbourOver  time.Duration `json:"neighbour_over,omitempty"`
}

// Eat is the neighbour, which is a process of its own: it enters the cgroup, takes
// memory little by little, and sleeps until it is killed. The kernel prefers to kill
// the service: StartService has told it so.
func Eat(ctx context.Context, memoryDir string, bytes uint64, over time.Duration) error {
	if err := os.WriteFile(filepath.Join(memoryDir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("entering the cgroup: %w", err)
	}
	const chunk = 1 << 20
	mem, err := syscall.Mmap(-1, 0, int(bytes), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("mapping memory: %w", err)
	}
	pause := over / time.Duration(max(1, len(mem)/chunk))
	for at := 0; at < len(mem) && ctx.Err() == nil; at += chunk {
		for i := at; i < min(at+chunk, len(mem)); i += 4096 {
			mem[i] = 1
		}
		time.Sleep(pause)
	}
	<-ctx.Done()
	return nil
}

// begin lets the fault happen to a service, but for the rate, and returns what
// ends it. self is the command of a process that calls Eat with the arguments that
// are added.
func (f Fault) begin(s *Service, length time.Duration, healthy time.Duration, self []string) (end func(), err error) {
	ends := func() {}
	if f.Dependency > 0 {
		s.Tell("dependency", func() string { return "dependency?latency=" + f.Dependency.String() })
		ends = func() {
			s.Tell("dependency", func() string { return "dependency?latency=" + healthy.String() })
		}
	}
	if f.StormLive > 0 || f.StormRate > 0 {
		until := time.Now().Add(length)
		s.Tell("storm", func() string {
			left := time.Until(until)
			if left <= 0 {
				return ""
			}
			return fmt.Sprintf("storm?live=%d&rate=%d&for=%s", f.StormLive, f.StormRate, left.Round(time.Millisecond))
		})
	}
	if f.NeighbourBytes > 0 {
		stop, err := neighbour(self, s.MemoryDir(), f.NeighbourBytes, f.NeighbourOver)
		if err != nil {
			return ends, err
		}
		before := ends
		ends = func() {
			before()
			stop()
		}
	}
	return ends, nil
}

// neighbour starts a neighbour, and another whenever the kernel has killed it in the
// service's place, until it is stopped.
func neighbour(self []string, memoryDir string, bytes uint64, over time.Duration) (stop func(), err error) {
	start := func(over time.Duration) (*exec.Cmd, error) {
		argv := append(slices.Clone(self), "-cgroup", memoryDir, "-bytes", strconv.FormatUint(bytes, 10), "-over", over.String())
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd, cmd.Start()
	}
	cmd, err := start(over)
	if err != nil {
		return nil, fmt.Errorf("starting a neighbour: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			gone := make(chan struct{})
			go func() { cmd.Wait(); close(gone) }()
			select {
			case <-ctx.Done():
				cmd.Process.Kill()
				<-gone
				return
			case <-gone:
			}
			sleepUntil(ctx, time.Now().Add(200*time.Millisecond))
			if ctx.Err() != nil {
				return
			}
			if cmd, err = start(over / 4); err != nil {
				return
			}
		}
	}()
	return func() { cancel(); <-ended }, nil
}
