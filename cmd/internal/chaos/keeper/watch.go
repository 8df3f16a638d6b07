package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/judge"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A watcher looks at the target ten times a second, and decides when to roll back. It
// waits for nothing: a reading takes a bounded time, and what it decides others do.
type watcher struct {
	s      *server
	abort  *judge.Abort
	usage  bool          // there were numbers of the cgroup or the runtime
	seeing time.Duration // when there were last
	looked int64         // when it was decided last, by the monotonic clock; 0 before
	tool   starving
}

func newWatcher(s *server) *watcher { return &watcher{s: s, abort: judge.NewAbort(s.Plan.Abort)} }

func (w *watcher) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for n := 0; ; n++ {
		if n%int(time.Second/tick) == 0 {
			w.s.out.say(reply{Is: isHere, Fault: -1})
		}
		select {
		case <-w.s.watching:
			return
		case <-t.C:
		}
		select {
		case points := <-w.s.baseline:
			w.abort.Baseline(points)
		default:
		}
		p := w.s.with(w.s.sense.Read(w.s.at()))
		w.s.point.Store(&p)
		w.count(p)
		if why, expected := w.decide(p); why != "" {
			w.s.rollback(why, expected)
		}
	}
}

// count keeps what faults want to know when they end.
func (w *watcher) count(p chaos.Point) {
	w.s.sense.Cycles() // those are the tool's to keep
	w.s.sense.Events()
	if v, ok := p.Values[chaos.OOMKills]; ok {
		w.s.kills.Store(int64(v))
	}
	if p.Values[chaos.Restarts] > 0 {
		w.s.gone.Store(true)
	}
}

// decide says why everything is to be undone, "" for no reason, and whether the plan
// expects it.
func (w *watcher) decide(p chaos.Point) (why string, expected bool) {
	now := procmem.Nanotime()
	w.s.heard.Add(int64(stalled(w.looked, now)))
	w.looked = now
	w.s.mu.Lock()
	current := w.s.current
	w.s.mu.Unlock()
	if current == nil {
		return "", false
	}
	active := len(w.s.active()) > 0
	w.tool.look(w.s.Tool.PID, now, time.Duration(now-w.s.heard.Load()))
	if silent := time.Duration(now - w.s.heard.Load()); active && silent > w.s.Lease && !w.tool.excused(silent, w.s.Lease) {
		return fmt.Sprintf("the tool has said nothing for %v", w.s.Lease), false
	}
	if w.s.gone.Load() {
		return "the target has ended", current.Expect != nil && current.Expect.OOMKill
	}
	_, inGroup := p.Values[chaos.Usage]
	_, inside := p.Values[chaos.LiveHeap]
	if inGroup || inside || !w.usage {
		w.usage = w.usage || inGroup || inside
		w.seeing = p.At
	}
	if blind := p.At - w.seeing; active && blind > w.s.Lease {
		return fmt.Sprintf("the target could not be looked at for %v", w.s.Lease), false
	}
	if broken, why := w.abort.Step(p, current); broken != nil {
		return why, false
	}
	return "", false
}

// late is how much time may pass between two decisions before the machine is taken to
// have stood still.
const late = 5 * tick

// stalled is the time between two decisions in which nobody on this machine came to a
// word, since the watcher itself did not: it does not count as the tool's silence. One
// stall gives no more than a lease, so that a tool that is dead is found dead.
func stalled(last, now int64) time.Duration {
	gap := time.Duration(now - last)
	if last == 0 || gap <= late {
		return 0
	}
	return min(gap-tick, DefaultLease)
}

// A starving is how long the threads of the tool have waited for a CPU while it said
// nothing: one that waits for its turn is neither stopped nor dead, and neither hangs.
type starving struct {
	views []wait // of its silence, the oldest first
}

// A wait is for how long all threads of a process had waited until then.
type wait struct {
	at     int64
	waited time.Duration
}

const (
	// starvedOver is over what time it is looked whether the tool waits for a CPU.
	starvedOver = time.Second
	// starvedShare is the share of that time that its threads have to have waited.
	starvedShare = 0.25
	// mostStarved is how many leases one that starves is waited for.
	mostStarved = 5
)

// look takes note, once it has been silent for half of a second.
func (v *starving) look(pid int, now int64, silent time.Duration) {
	if silent < starvedOver/2 {
		v.views = v.views[:0]
		return
	}
	waited, ok := waitedForCPU(pid)
	if !ok {
		v.views = v.views[:0]
		return
	}
	v.views = append(v.views, wait{now, waited})
	// One from before that time is kept, and no more.
	for len(v.views) > 2 && now-v.views[1].at >= int64(starvedOver) {
		v.views = slices.Delete(v.views, 0, 1)
	}
}

// excused reports whether the silence of the tool is that it gets no CPU.
func (v *starving) excused(silent, lease time.Duration) bool {
	if len(v.views) < 2 || silent > mostStarved*lease {
		return false
	}
	from, to := v.views[0], v.views[len(v.views)-1]
	span := to.at - from.at
	return span >= int64(starvedOver) && float64(to.waited-from.waited) >= starvedShare*float64(span)
}

// maxThreads bounds how many threads are looked at.
const maxThreads = 512

// waitedForCPU is for how long the threads of a process have been ready to run, and did
// not: /proc/PID/task/TID/schedstat, where the kernel keeps it.
func waitedForCPU(pid int) (time.Duration, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
	d, err := os.Open(dir)
	if err != nil {
		return 0, false
	}
	names, err := d.Readdirnames(maxThreads)
	d.Close()
	if err != nil {
		return 0, false
	}
	var all time.Duration
	some := false
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name, "schedstat"))
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(text))
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && n >= 0 {
			all += time.Duration(n)
			some = true
		}
	}
	return all, some
}
