package memlimit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is the child in the groups of these tests. It obeys its standard
// input, a word and perhaps a number of MiB a line, and answers each with a line.
func TestMain(m *testing.M) {
	if os.Getenv("MEMLIMIT_CHILD") == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func child() error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	var l *Limit
	var live [][]byte
	var foreign [][]byte
	for in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		n, _ := strconv.Atoi(rest)
		answer := any("ok")
		switch word {
		case "start":
			var err error
			if l, err = Start(Config{Interval: leastInterval, Logger: slog.New(slog.DiscardHandler)}); err != nil {
				return err
			}
		case "report":
			answer = l.Report()
		case "live":
			live = nil
			for range n {
				live = append(live, touched(make([]byte, 1<<20)))
			}
		case "garbage":
			for range n * 16 {
				garbage = touched(make([]byte, 1<<16))
			}
		case "mmap":
			b, err := syscall.Mmap(-1, 0, n<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
			if err != nil {
				return err
			}
			foreign = append(foreign, touched(b))
		case "grow": // n times 8 MiB, as fast as they are looked at, and nothing for Go to do
			for range n {
				b, err := syscall.Mmap(-1, 0, 8<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
				if err != nil {
					return err
				}
				foreign = append(foreign, touched(b))
				time.Sleep(5 * leastInterval)
			}
		case "munmap":
			for _, b := range foreign {
				if err := syscall.Munmap(b); err != nil {
					return err
				}
			}
			foreign = nil
		case "prepare":
			if err := l.Prepare(tContext{}, uint64(n)<<20); err != nil {
				answer = err.Error()
			}
		case "cost": // of a look
			begin := time.Now()
			for range n {
				l.refresh()
			}
			answer = (time.Since(begin) / time.Duration(n)).String()
		case "close":
			if err := l.Close(); err != nil {
				return err
			}
			var g goState
			runtimeReader()(&g)
			answer = g.limit
		}
		b, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		fmt.Println(string(b))
	}
	runtime.KeepAlive(live)
	return nil
}

func touched(b []byte) []byte {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

// tContext is a context that is never done.
type tContext struct{}

func (tContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (tContext) Done() <-chan struct{}       { return nil }
func (tContext) Err() error                  { return nil }
func (tContext) Value(any) any               { return nil }

type process struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a child in the group of that directory.
func startChild(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("/proc/self/exe"), t: t}
	p.Env = append(env, "MEMLIMIT_CHILD=1")
	p.Stderr = os.Stderr
	var err error
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	p.line()
	write(t, dir, "cgroup.procs", strconv.Itoa(p.Process.Pid))
	p.ask("start")
	return p
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the child is gone: %v; was it killed?", err)
	}
	return strings.TrimSpace(line)
}

func (p *process) ask(what string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, what+"\n"); err != nil {
		p.t.Fatalf("telling the child to %s: %v", what, err)
	}
	return p.line()
}

func (p *process) report() (r Report) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.ask("report")), &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// until waits for a report that is as wanted.
func (p *process) until(what string, ok func(r *Report) bool) Report {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		r := p.report()
		if ok(&r) {
			return r
		}
		if time.Now().After(deadline) {
			b, _ := json.MarshalIndent(r, "", "  ")
			p.t.Fatalf("%s did not come about: %s", what, b)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// hierarchies knows the words of each version of cgroups.
var hierarchies = map[int]struct{ mount, probe, limit, peak string }{
	1: {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
	2: {"/sys/fs/cgroup", "cgroup.controllers", "memory.max", "memory.peak"},
}

// groups makes a group and one inside it, or skips the test where we may not.
func groups(t *testing.T, version int) (outer, inner string) {
	t.Helper()
	h := hierarchies[version]
	if _, err := os.Stat(filepath.Join(h.mount, h.probe)); err != nil {
		t.Skipf("no cgroup v%d hierarchy with memory is mounted at %s", version, h.mount)
	}
	outer = filepath.Join(h.mount, "heapwright-memlimit-"+strconv.Itoa(os.Getpid()))
	inner = filepath.Join(outer, "inner")
	for _, dir := range []string{outer, inner} {
		if version == 2 {
			above := filepath.Join(filepath.Dir(dir), "cgroup.subtree_control")
			if err := os.WriteFile(above, []byte("+memory"), 0); err != nil {
				t.Skipf("the memory controller is not to be had: %v", err)
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("cannot make a cgroup: %v", err)
		}
		t.Cleanup(func() { remove(t, dir) })
	}
	return outer, inner
}

// remove removes a group that may still be emptying.
func remove(t *testing.T, dir string) {
	for range 500 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("could not remove %s", dir)
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, dir, file string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	v, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return v
}

func TestLiveV1(t *testing.T) { testLive(t, 1) }
func TestLiveV2(t *testing.T) { testLive(t, 2) }

// The limit of a real container is found and kept right while it is resized, while
// memory that is not Go's comes and goes, and while the program makes garbage as
// fast as it can. The child is not killed.
func testLive(t *testing.T, version int) {
	if raceDetector {
		t.Skip("the race detector keeps several times the heap beside it: no program of this size fits into its container then")
	}
	outer, inner := groups(t, version)
	h := hierarchies[version]
	limit := func(dir string, mib uint64) { write(t, dir, h.limit, strconv.FormatUint(mib<<20, 10)) }
	limit(inner, 256)
	p := startChild(t, inner)

	r := p.report()
	if r.Mode != ModeSet || r.Source != SourceCgroup || r.LimitBytes != 256<<20 || r.Path != inner || r.PreviousGOMEMLIMIT != math.MaxInt64 {
		t.Fatalf("at the start: %+v", r)
	}
	if r.Measured || r.NonGoBytes < 256<<20/10 {
		t.Errorf("before the first look %d bytes stand for what is not Go's, measured %t", r.NonGoBytes, r.Measured)
	}
	r = p.until("a measurement", func(r *Report) bool { return r.Measured })
	t.Logf("256 MiB: GOMEMLIMIT %s, not Go's %s, reserve %s", limitText(r.GOMEMLIMIT), human(r.NonGoBytes), human(r.ReserveBytes))
	if r.NonGoBytes > 16<<20 || r.GOMEMLIMIT < 200<<20 || r.GOMEMLIMIT > 256<<20 {
		t.Errorf("nothing but Go is there: %+v", r)
	}

	t.Logf("a look takes %s", p.ask("cost 1000"))

	// 100 MiB of live heap at GOGC=100 fit; with as much garbage again, and again.
	p.ask("live 100")
	p.ask("garbage 2000")
	t.Logf("peak of the group: %s of 256 MiB", human(number(t, inner, h.peak)))

	// Memory that is not Go's is seen, and GOMEMLIMIT makes room for it: also now,
	// when Go holds 200 MiB of garbage and the program does not allocate. It comes in
	// steps that the reserve has room for; more at once no limit of Go's could help.
	p.ask("live 0")
	p.ask("grow 8")
	r = p.until("room for 64 MiB that are not Go's", func(r *Report) bool { return r.NonGoBytes > 56<<20 })
	if r.GOMEMLIMIT > int64(256-56)<<20 || r.Mode != ModeSet {
		t.Errorf("with 64 MiB that are not Go's: %+v", r)
	}
	t.Logf("with 64 MiB mapped: GOMEMLIMIT %s, not Go's %s, reserve %s (%s)", limitText(r.GOMEMLIMIT), human(r.NonGoBytes), human(r.ReserveBytes), r.ReserveWhy)
	p.ask("live 60")
	p.ask("garbage 2000")
	t.Logf("peak of the group: %s of 256 MiB", human(number(t, inner, h.peak)))

	// Up: the hard limit first, the soft one follows.
	before := r.GOMEMLIMIT
	limit(inner, 512)
	r = p.until("the larger limit", func(r *Report) bool { return r.LimitBytes == 512<<20 })
	if r.GOMEMLIMIT < before+150<<20 {
		t.Errorf("512 MiB: GOMEMLIMIT %s after %s", limitText(r.GOMEMLIMIT), limitText(before))
	}
	p.ask("live 200")
	p.ask("garbage 2000")

	// Down without a word, to more than what lives: it follows.
	p.ask("live 60")
	p.ask("garbage 1000")
	if answer := p.ask("prepare 256"); answer != `"ok"` {
		t.Fatalf("preparing for 256 MiB: %s", answer)
	}
	if r = p.report(); r.GOMEMLIMIT > 256<<20 || r.LimitBytes != 512<<20 {
		t.Errorf("prepared for 256 MiB, with the limit at 512: %+v", r)
	}
	limit(inner, 256)
	p.ask("garbage 1000")
	r = p.until("the smaller limit", func(r *Report) bool { return r.LimitBytes == 256<<20 })
	if r.GOMEMLIMIT > 256<<20 {
		t.Errorf("256 MiB again: %+v", r)
	}

	// What does not fit is refused, and what was lowered for it goes up again.
	before = r.GOMEMLIMIT
	if answer := p.ask("prepare 100"); !strings.Contains(answer, "cannot be reclaimed") && !strings.Contains(answer, "what lives needs") {
		t.Errorf("preparing for 100 MiB with 60 MiB alive and 64 MiB not Go's: %s", answer)
	}
	if r = p.report(); math.Abs(float64(r.GOMEMLIMIT-before)) > 8<<20 {
		t.Errorf("after a preparation that failed GOMEMLIMIT is %s, not %s", limitText(r.GOMEMLIMIT), limitText(before))
	}

	// A group above with less counts. GOMEMLIMIT goes down first: between a limit that
	// is lowered by surprise and the next look, what Go may still take kills it.
	if answer := p.ask("prepare 224"); answer != `"ok"` {
		t.Fatalf("preparing for 224 MiB: %s", answer)
	}
	limit(outer, 224)
	r = p.until("the parent's limit", func(r *Report) bool { return r.LimitBytes == 224<<20 })
	if r.Path != outer || r.GOMEMLIMIT > 224<<20 {
		t.Errorf("with 224 MiB for the parent: %+v", r)
	}
	p.ask("garbage 2000")
	for _, l := range r.Looks {
		if l.Taken != (l.Where == outer && l.Source == SourceCgroup) {
			t.Errorf("look %+v is taken: %t", l, l.Taken)
		}
	}

	// A live heap that nearly fills the container takes of the reserve, and lives.
	limit(outer, 300)
	p.ask("munmap")
	p.ask("close")
	p.ask("start") // what was not Go's is forgotten with it
	p.until("a measurement", func(r *Report) bool { return r.Measured && r.LimitBytes == 256<<20 })
	p.ask("live 30")
	os.WriteFile(filepath.Join(inner, h.peak), []byte("0"), 0) // from here on; not every kernel can
	p.ask("live 205")
	p.ask("garbage 500")
	r = p.until("less of a reserve", func(r *Report) bool { return r.LiveBytes > 200<<20 })
	t.Logf("with 205 MiB alive of 256: GOMEMLIMIT %s, reserve %s, mode %s; peak of the group: %s", limitText(r.GOMEMLIMIT), human(r.ReserveBytes), r.Mode, human(number(t, inner, h.peak)))
	if r.GOMEMLIMIT < 230<<20 || r.GOMEMLIMIT > 249<<20 {
		t.Errorf("with 205 MiB alive: %+v", r)
	}

	if answer := p.ask("close"); answer != strconv.FormatInt(math.MaxInt64, 10) {
		t.Errorf("after Close GOMEMLIMIT is %s", answer)
	}
	p.in.Close()
	if err := p.Wait(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
}

// An operator who set GOMEMLIMIT too high keeps it, and is told.
func TestLiveOperator(t *testing.T) {
	_, inner := groups(t, 1)
	write(t, inner, "memory.limit_in_bytes", strconv.Itoa(128<<20))
	p := startChild(t, inner, "GOMEMLIMIT=1GiB")
	r := p.report()
	if r.Mode != ModeOperator || r.GOMEMLIMIT != 1<<30 || !strings.Contains(r.Reason, "more than") || r.WouldSet == 0 {
		t.Errorf("got %+v", r)
	}
}
