package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/peers"
)

// A bench is what runs have in common.
type bench struct {
	dir     string
	service string
	self    []string
	out     io.Writer
}

// path is of a file in the bench's directory.
func (b bench) path(name string) string { return filepath.Join(b.dir, name) }

// The files of results.
const (
	faultsFile  = "faults.jsonl"
	oomFile     = "oom.jsonl"
	healthyFile = "healthy.jsonl"
)

// newBench builds the service, unless there is a binary of it.
func newBench(ctx context.Context, dir, service string, out io.Writer) (bench, error) {
	b := bench{dir: dir, out: out, service: service}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return b, err
	}
	self, err := os.Executable()
	if err != nil {
		return b, err
	}
	b.self = []string{self, "eat"}
	if b.service == "" {
		b.service = b.path("guarded")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.service, "github.com/heapwright/heapwright/e2e/guarded")
		if text, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("building the service: %w\n%s", err, text)
		}
	}
	b.service, err = filepath.Abs(b.service)
	return b, err
}

// block is a block with what is the same in all.
func (b bench) block() peers.Block {
	return peers.Block{
		Service: b.service, Dir: b.dir, Self: b.self,
		Box: peers.DefaultBox, Phases: peers.DefaultPhases, Rate: peers.DefaultRate, Dependency: peers.DefaultDependency,
	}
}

// An item is a block of a campaign. Which guards are in it is drawn by lot, and
// Heapwright is in every one: it is compared with what happened beside it.
type item struct {
	n      int
	fault  peers.Fault
	guards []string
}

func campaign(faults []peers.Fault, guards []string, reps, together int) (out []item) {
	rnd := rand.New(rand.NewPCG(1, 1))
	others := slices.DeleteFunc(slices.Clone(guards), func(g string) bool { return g == peers.Heapwright })
	withUs := len(others) < len(guards)
	size := together
	if withUs {
		size--
	}
	for range reps {
		var these []item
		for _, f := range faults {
			rnd.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
			for some := range slices.Chunk(others, max(1, size)) {
				some = slices.Clone(some)
				if withUs {
					some = slices.Insert(some, rnd.IntN(len(some)+1), peers.Heapwright)
				}
				these = append(these, item{fault: f, guards: some})
			}
		}
		rnd.Shuffle(len(these), func(i, j int) { these[i], these[j] = these[j], these[i] })
		for _, it := range these {
			it.n = len(out)
			out = append(out, it)
		}
	}
	return out
}

func faultsCommand(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where results are kept")
	service := fs.String("service", "", "the service's binary; built if empty")
	reps := fs.Int("reps", 3, "how often every fault happens to every guard")
	together := fs.Int("together", 4, "how many services run at the same time")
	guards := fs.String("guards", strings.Join(peers.Guards, ","), "comma-separated guards")
	faults := fs.String("faults", "overload,slow,storm,squeeze", "comma-separated faults")
	within := fs.Duration("within", 30*time.Minute, "begin nothing new after this time")
	watch := fs.Bool("watch", false, "print what Heapwright's guard says, every second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var chosen []peers.Fault
	for _, name := range strings.Split(*faults, ",") {
		f, ok := peers.FaultNamed(name)
		if !ok {
			return fmt.Errorf("there is no fault %q", name)
		}
		chosen = append(chosen, f)
	}
	b, err := newBench(ctx, dir, *service, out)
	if err != nil {
		return err
	}
	done, err := jsonl.Read[peers.Run](b.path(faultsFile))
	if err != nil {
		return err
	}
	deadline := time.Now().Add(*within)
	items := campaign(chosen, strings.Split(*guards, ","), *reps, *together)
	failed := 0
	for i, it := range items {
		if slices.ContainsFunc(done, func(r peers.Run) bool { return r.Block == it.n }) {
			continue
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(out, "%v are over: %d blocks are left out\n", *within, len(items)-i)
			break
		}
		block := b.block()
		block.Fault, block.Guards, block.Seed = it.fault, it.guards, uint64(it.n)
		if *watch {
			block.Watch = watcher(out)
		}
		runs, err := block.Run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(out, "block %d of %d: %v\n", i+1, len(items), err)
			if failed++; failed == 3 {
				return errors.New("three blocks in a row could not be run")
			}
			continue
		}
		failed = 0
		for _, r := range runs {
			r.Block = it.n
			fmt.Fprintf(out, "block %d of %d: %s\n", i+1, len(items), line(r))
			if err := jsonl.Append(b.path(faultsFile), r); err != nil {
				return err
			}
		}
	}
	return nil
}

// watcher prints Heapwright's status.
func watcher(out io.Writer) func(time.Duration, string, uint64, string) {
	var mu sync.Mutex
	return func(at time.Duration, guard string, memory uint64, status string) {
		if guard != peers.Heapwright {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "  %5.1fs %4d MiB %s\n", at.Seconds(), memory>>20, brief(status))
	}
}

// brief is what matters of the status that the service gives of Heapwright.
func brief(status string) string {
	var doc struct {
		Guard struct {
			State  string   `json:"state"`
			Rung   int      `json:"rung"`
			Ratio  *float64 `json:"memory_ratio"`
			Limits []struct {
				Name  string  `json:"name"`
				Value float64 `json:"value"`
			} `json:"signals"`
			Shed struct {
				InFlight int     `json:"in_flight"`
				Bytes    float64 `json:"in_flight_bytes"`
				Capacity float64 `json:"capacity_bytes"`
			} `json:"shed"`
			Objectives []struct {
				Name    string `json:"name"`
				Tripped bool   `json:"tripped"`
			} `json:"objectives"`
		} `json:"guard"`
		Limit struct {
			Mode   string  `json:"mode"`
			GoMem  float64 `json:"gomemlimit_bytes"`
			Live   float64 `json:"live_bytes"`
			NonGo  float64 `json:"non_go_bytes"`
			Reason string  `json:"reason"`
		} `json:"memlimit"`
	}
	if err := json.Unmarshal([]byte(status), &doc); err != nil {
		return status
	}
	const mib = 1 << 20
	ratio := math.NaN()
	if doc.Guard.Ratio != nil {
		ratio = *doc.Guard.Ratio
	}
	var tripped []string
	for _, o := range doc.Guard.Objectives {
		if o.Tripped {
			tripped = append(tripped, o.Name)
		}
	}
	var signals []string
	for _, v := range doc.Guard.Limits {
		signals = append(signals, fmt.Sprintf("%s=%.3g", v.Name, v.Value))
	}
	return fmt.Sprintf("%s rung %d memory %.2f, %d in flight (%.0f of %.0f MiB), live %.0f, GOMEMLIMIT %.0f, not Go's %.0f MiB, %s %v %s",
		doc.Guard.State, doc.Guard.Rung, ratio, doc.Guard.Shed.InFlight, doc.Guard.Shed.Bytes/mib, doc.Guard.Shed.Capacity/mib,
		doc.Limit.Live/mib, doc.Limit.GoMem/mib, doc.Limit.NonGo/mib, doc.Limit.Mode, tripped, strings.Join(signals, " "))
}

// line is a run for people.
func line(r peers.Run) string {
	f := r.Score.Fault
	return fmt.Sprintf("%-9s %-22s healthy %4.1f/s (%d refused, p99 %.0f ms, %.1f ms CPU); fault %5.1f good of %5.1f/s, p99 %4.0f ms, %4d refused, %4d timed out, %4d failed, %d OOM; tripped after %.1f s, well %.1f s after; machine %.2f cores",
		r.Fault, r.Guard, r.Score.Healthy.Goodput(), r.Score.Healthy.Refused, 1e3*r.Score.Healthy.P99, 1e3*r.CPU,
		f.Goodput(), float64(f.Due)/f.Seconds, 1e3*f.P99, f.Refused, f.TimedOut, f.Failed, r.Kills, r.Score.Trip, r.Score.Recover, r.MachineCores)
}
