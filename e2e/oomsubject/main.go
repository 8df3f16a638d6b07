// Oomsubject is a program that is killed for want of memory: it keeps something small,
// works a while, and then grows in the way it is told until the kernel ends it. It is
// built by many Go releases, so it stands alone and uses nothing new.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"
)

const mib = 1 << 20

// profiles makes the linker keep what samples allocations, as in any server with a
// profile endpoint.
var profiles = pprof.Lookup("heap")

func main() {
	mode := flag.String("mode", "heap", "what grows")
	limit := flag.Int("limit", 64, "the limit of the cgroup, MiB")
	rate := flag.Float64("rate", 0, "MiB a second; 0 for as fast as it goes")
	warm := flag.Duration("warm", time.Second, "how long it works before it grows")
	file := flag.String("file", "", "a file to fill the page cache with")
	flag.Parse()

	// What it always has: a cache with a bound, and requests that allocate and forget.
	table := buildTable(*limit * mib / 16)
	go serveRequests()
	fmt.Println("ready", os.Getpid())
	time.Sleep(*warm)

	g := &grower{rate: *rate * mib, start: time.Now()}
	switch *mode {
	case "heap":
		growSessions(g)
	case "small": // many small objects
		growIndex(g)
	case "steps":
		growSteps(g, *limit*mib/12)
	case "exponential":
		growDoubling(g, *limit*mib/64)
	case "stacks":
		growStacks(g)
	case "goroutines":
		growGoroutines(g)
	case "mmap":
		growMapped(g)
	case "garbage":
		debug.SetGCPercent(100000)
		growGarbage(g)
	case "pagecache":
		go fillCache(*file, *limit*mib)
		growSessions(g)
	case "sibling": // somebody else in the group grows, and we are chosen
		cmd := exec.Command(os.Args[0], "-mode", "mmap", "-limit", "16", "-rate", strconv.FormatFloat(*rate, 'f', -1, 64), "-warm", "0s")
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		chooseMe() // not before: the child would be as well
		cmd.Wait()
	case "restful": // nothing grows: it ends by itself
		time.Sleep(2 * time.Second)
		return
	default:
		fmt.Fprintln(os.Stderr, "unknown mode", *mode)
		os.Exit(2)
	}
	time.Sleep(time.Minute)
	runtime.KeepAlive(table)
}

// chooseMe makes the kernel take this process and not its child.
func chooseMe() {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("900"), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// A grower says how much may have been allocated by now.
type grower struct {
	rate  float64
	start time.Time
	done  float64
}

// take waits until so much more is due.
func (g *grower) take(n int) {
	g.done += float64(n)
	if g.rate <= 0 {
		return
	}
	due := g.start.Add(time.Duration(g.done / g.rate * float64(time.Second)))
	if d := time.Until(due); d > time.Millisecond {
		time.Sleep(d)
	}
}

//go:noinline
func buildTable(n int) [][]byte {
	var t [][]byte
	for ; n > 0; n -= 4096 {
		t = append(t, bytes.Repeat([]byte{1}, 4096))
	}
	return t
}

// serveRequests makes garbage, as servers do.
func serveRequests() {
	for {
		for i := 0; i < 8; i++ {
			handleRequest()
		}
		time.Sleep(time.Millisecond)
	}
}

var sink, trash []byte

//go:noinline
func handleRequest() { sink = make([]byte, 2048) }

var sessions [][]byte

//go:noinline
func growSessions(g *grower) {
	for {
		b := make([]byte, 32<<10)
		for i := 0; i < len(b); i += 512 {
			b[i] = 1
		}
		sessions = append(sessions, b)
		g.take(len(b))
	}
}

type entry struct {
	next *entry
	text [10]uint64
}

var index *entry

//go:noinline
func growIndex(g *grower) {
	for {
		for i := 0; i < 256; i++ {
			index = &entry{next: index}
		}
		g.take(256 * 96)
	}
}

//go:noinline
func growSteps(g *grower, step int) {
	for {
		b := make([]byte, step)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		sessions = append(sessions, b)
		g.take(step)
		time.Sleep(10 * time.Millisecond)
	}
}

//go:noinline
func growDoubling(g *grower, first int) {
	for n := first; ; n += n / 8 {
		for left := n; left > 0; left -= 16 << 10 {
			sessions = append(sessions, bytes.Repeat([]byte{1}, 16<<10))
		}
		g.take(n / 16) // the rate is of the first
	}
}

//go:noinline
func deepWait(n int, stop chan int) int {
	var pad [100]int
	pad[n%100] = n
	if n == 0 {
		<-stop
		return 0
	}
	return deepWait(n-1, stop) + pad[(n+1)%100]
}

func growStacks(g *grower) {
	stop := make(chan int)
	for {
		go deepWait(30, stop)
		g.take(64 << 10)
		runtime.Gosched()
	}
}

//go:noinline
func waitForever(stop chan int) { <-stop }

func growGoroutines(g *grower) {
	stop := make(chan int)
	for {
		for i := 0; i < 16; i++ {
			go waitForever(stop)
		}
		g.take(16 * 2600)
		runtime.Gosched()
	}
}

//go:noinline
func growMapped(g *grower) {
	for {
		b, err := syscall.Mmap(-1, 0, mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		g.take(mib)
	}
}

//go:noinline
func growGarbage(g *grower) {
	for {
		b := make([]byte, 48<<10)
		for i := 0; i < len(b); i += 512 {
			b[i] = 1
		}
		trash = b
		g.take(len(b))
	}
}

// fillCache keeps the page cache of the group full, again and again.
func fillCache(name string, n int) {
	f, err := os.Create(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	defer os.Remove(name)
	b := bytes.Repeat([]byte{2}, 64<<10)
	for {
		for done := 0; done < n; done += len(b) {
			if _, err := f.WriteAt(b, int64(done)); err != nil {
				return
			}
			if done%(4*mib) == 0 {
				time.Sleep(2 * time.Millisecond)
			}
		}
		f.Sync()
	}
}
