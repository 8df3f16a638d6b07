// Horizon lets real programs run in memory cgroups, some of which the kernel kills, has
// `heapwright record` look at them, and asks `heapwright forecast --backtest` at many
// instants of each recording what it would have said.
//
//	horizon [-dir DIR] [-heapwright BINARY] [-together 4] [-only REGEXP] [-rounds 1] [-from 0]
//
// It goes on where it stopped: a run whose recording is in DIR is not made again. It needs
// root and cgroup v1, and builds nats-server, unless it is there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
	"github.com/heapwright/heapwright/record"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "horizon:", err)
		os.Exit(1)
	}
}

// A subject is one program under one limit.
type subject struct {
	name  string
	args  []string // of the subject program; none for a server
	nats  int      // bytes a second into a stream in memory
	keeps int      // bytes that the stream holds; 0 is no bound
	env   []string
	limit int // MiB
	lasts time.Duration
}

func course(name, course string, limit int, env string, args ...string) subject {
	s := subject{name: name, args: append([]string{"-course", course}, args...), limit: limit, lasts: 100 * time.Second}
	if env != "" {
		s.env = strings.Fields(env)
	}
	return s
}

// long is a subject that takes longer to its end.
func long(s subject) subject {
	s.lasts = 240 * time.Second
	return s
}

// vary changes what a subject keeps and how fast it grows by up to a third, for the rounds
// after the first.
func vary(s subject, round int) subject {
	rnd := rand.New(rand.NewPCG(uint64(round), uint64(len(s.name))))
	factor := 0.75 + 0.55*rnd.Float64()
	s.args = slices.Clone(s.args)
	for i := range s.args {
		if i > 0 && s.args[i-1] == "-rate" {
			if v, err := strconv.ParseFloat(s.args[i], 64); err == nil {
				s.args[i] = strconv.FormatFloat(v*factor, 'f', 3, 64)
			}
		}
	}
	s.nats = int(float64(s.nats) * factor)
	return s
}

// subjects are half those that are killed and half those that are not. Rates are such that
// an end comes after 10 seconds to 3 minutes: what takes hours in production takes the
// same course.
func subjects() []subject {
	const soft = "GOMEMLIMIT=230MiB"
	return []subject{
		long(course("linear 1", "linear", 256, "", "-rate", "1")),
		course("linear 2", "linear", 256, "", "-rate", "2"),
		course("linear 4", "linear", 256, "", "-rate", "4"),
		course("linear 10", "linear", 256, "", "-rate", "10"),
		course("linear, GOGC 50", "linear", 256, "GOGC=50", "-rate", "2"),
		course("linear, GOGC 200", "linear", 256, "GOGC=200", "-rate", "1"),
		course("linear, much garbage", "linear", 256, "", "-rate", "1.5", "-garbage", "200"),
		long(course("linear, little garbage", "linear", 256, "", "-rate", "1.5", "-garbage", "1")),
		course("linear, GOMEMLIMIT", "linear", 256, soft, "-rate", "3"),
		long(course("linear, GOMEMLIMIT, slower", "linear", 256, soft, "-rate", "2")),
		course("linear, GOMEMLIMIT, GOGC off", "linear", 256, soft+" GOGC=off", "-rate", "3"),
		course("late", "late", 256, "", "-rate", "2.5"),
		course("late, GOMEMLIMIT", "late", 256, soft, "-rate", "4"),
		course("faster", "faster", 256, "", "-rate", "1.5"),
		course("steps", "steps", 256, "", "-rate", "2"),
		course("warm leak", "warm leak", 256, "", "-rate", "1.5"),
		long(course("uneven", "uneven", 256, "", "-rate", "1.5")),
		course("uneven, GOMEMLIMIT", "uneven", 256, soft, "-rate", "3"),
		course("goroutines", "goroutines", 256, "", "-rate", "3"),
		course("outside", "outside", 256, "", "-rate", "3"),
		course("outside, GOMEMLIMIT", "outside", 256, soft, "-rate", "3"),
		{name: "nats, a stream that grows", nats: 2 << 20, limit: 256, lasts: 240 * time.Second},
		{name: "nats, a stream that grows faster", nats: 5 << 20, limit: 256, lasts: 100 * time.Second},

		course("healthy: level", "level", 96, ""),
		course("healthy: level, GOMEMLIMIT", "level", 64, "GOMEMLIMIT=56MiB", "-garbage", "100"),
		course("healthy: level, much garbage", "level", 160, "", "-garbage", "300"),
		course("healthy: level, GOGC off", "level", 256, soft+" GOGC=off"),
		course("healthy: warm", "warm", 256, ""),
		course("healthy: warm, GOMEMLIMIT", "warm", 180, "GOMEMLIMIT=160MiB"),
		course("healthy: fills", "fills", 256, "", "-rate", "2"),
		course("healthy: fills, GOMEMLIMIT", "fills", 180, "GOMEMLIMIT=160MiB", "-rate", "2"),
		course("healthy: sawtooth", "sawtooth", 256, ""),
		course("healthy: sawtooth, GOMEMLIMIT", "sawtooth", 180, "GOMEMLIMIT=160MiB"),
		course("healthy: bursts", "bursts", 256, ""),
		course("healthy: bursts, GOMEMLIMIT", "bursts", 180, "GOMEMLIMIT=160MiB"),
		course("healthy: wanders", "wanders", 256, ""),
		course("healthy: wanders, GOMEMLIMIT", "wanders", 180, "GOMEMLIMIT=160MiB"),
		{name: "healthy: nats, a stream that is full", nats: 2 << 20, keeps: 48 << 20, limit: 256, lasts: 100 * time.Second},
		{name: "healthy: nats, a stream that is full, GOMEMLIMIT", nats: 2 << 20, keeps: 48 << 20, limit: 160, env: []string{"GOMEMLIMIT=140MiB"}, lasts: 100 * time.Second},
	}
}

// A bench has the binaries and where results go.
type bench struct {
	dir, heapwright, subject, nats string
	out                            io.Writer
	mu                             sync.Mutex // of out
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("horizon", flag.ContinueOnError)
	dir := fs.String("dir", "", "where recordings are kept (default a directory that is removed)")
	heapwright := fs.String("heapwright", "", "the binary; built if empty")
	together := fs.Int("together", 4, "programs at a time")
	only := fs.String("only", "", "subjects whose names match")
	from := fs.Int("from", 0, "the first round; in all but round 0 rates are varied")
	rounds := fs.Int("rounds", 1, "how often")
	if err := fs.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "horizon-"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}
	b := &bench{dir: *dir, heapwright: *heapwright, out: out}
	if err := b.build(ctx); err != nil {
		return err
	}
	type job struct {
		s    subject
		file string
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	var failed error
	for range *together {
		workers.Go(func() {
			for j := range jobs {
				if err := b.one(ctx, j.s, j.file); err != nil {
					b.mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("%s: %w", j.s.name, err))
					b.mu.Unlock()
				}
			}
		})
	}
	var files []string
	for round := *from; round < *from+*rounds; round++ {
		for _, s := range subjects() {
			if !match.MatchString(s.name) || ctx.Err() != nil {
				continue
			}
			if round > 0 {
				s = vary(s, round)
			}
			if s.args != nil {
				s.args = append(s.args, "-seed", fmt.Sprint(round+1))
			}
			j := job{s, filepath.Join(*dir, fmt.Sprintf("%s-%d.hwrec", strings.Map(plain, s.name), round))}
			files = append(files, j.file)
			if _, err := os.Stat(j.file); err != nil {
				jobs <- j
			}
		}
	}
	close(jobs)
	workers.Wait()
	if err := errors.Join(failed, ctx.Err()); err != nil {
		return err
	}
	// Each by itself, and all together.
	for _, file := range files {
		fmt.Fprintf(out, "\n%s\n", filepath.Base(file))
		if err := b.backtest(ctx, file); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "\nall")
	return b.backtest(ctx, files...)
}

func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

func (b *bench) build(ctx context.Context) error {
	bin, err := os.MkdirTemp(b.dir, "bin-")
	if err != nil {
		return err
	}
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}
	module := filepath.Dir(strings.TrimSpace(string(mod)))
	b.subject = filepath.Join(bin, "subject")
	builds := [][2]string{{module, "./cmd/horizon/subject"}}
	outs := []string{b.subject}
	if b.heapwright == "" {
		b.heapwright = filepath.Join(bin, "heapwright")
		builds, outs = append(builds, [2]string{filepath.Join(filepath.Dir(module), "cmd"), "./heapwright"}), append(outs, b.heapwright)
	}
	for i, p := range builds {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", outs[i], p[1])
		cmd.Dir = p[0]
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", p[1], err, text)
		}
	}
	if b.nats, err = servers.NATS.Recipe.Build(ctx); err != nil {
		return err
	}
	return nil
}

// one lets one subject run, and keeps its recording with how it ended.
func (b *bench) one(ctx context.Context, s subject, file string) (err error) {
	group, err := harness.MakeCgroup(harness.Limits{MemoryBytes: uint64(s.limit) << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	work, err := os.MkdirTemp(b.dir, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	cmd := exec.Command(b.subject, append(s.args, "-for", s.lasts.String())...)
	port := 0
	if s.args == nil {
		if port, err = freePort(); err != nil {
			return err
		}
		cmd = exec.Command(b.nats, "--addr", "127.0.0.1", "--port", fmt.Sprint(port), "--jetstream", "--store_dir", work)
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GOGC=") && !strings.HasPrefix(e, "GOMEMLIMIT=") && !strings.HasPrefix(e, "GODEBUG=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, s.env...)
	group.Enter(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	var died time.Time
	go func() { cmd.Wait(); died = time.Now(); close(ended) }()
	defer func() { cmd.Process.Kill(); <-ended }()
	time.Sleep(300 * time.Millisecond) // it becomes what the shell of the cgroup runs

	raw := filepath.Join(work, "raw.hwrec")
	look := exec.Command(b.heapwright, "record", fmt.Sprint(cmd.Process.Pid), "-o", raw, "--hz", "5", "--profiles", "0")
	var said strings.Builder
	look.Stderr = &said
	if err := look.Start(); err != nil {
		return err
	}
	defer look.Process.Kill()
	if port != 0 {
		feeding, stop := context.WithTimeout(ctx, s.lasts)
		defer stop()
		go feed(feeding, fmt.Sprintf("127.0.0.1:%d", port), s.nats, s.keeps)
	}
	select {
	case <-ended:
	case <-time.After(s.lasts + 5*time.Second):
		look.Process.Signal(os.Interrupt)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := look.Wait(); err != nil {
		return fmt.Errorf("recording: %w: %s", err, said.String())
	}
	kills, err := group.OOMKills()
	if err != nil {
		return err
	}
	if kills == 0 {
		died = time.Time{}
	}
	text := "lived"
	if kills > 0 {
		text = "killed"
	}
	b.mu.Lock()
	fmt.Fprintf(b.out, "%s: %s\n", s.name, text)
	b.mu.Unlock()
	return finish(raw, file, died)
}

// finish copies a recording, and adds that the kernel killed the process, where it did:
// who looks from outside sees an end only.
func finish(raw, file string, died time.Time) error {
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer f.Close()
	lives, err := record.ReadAll(f)
	if err != nil || len(lives) == 0 {
		return fmt.Errorf("reading what was recorded: %d lives, %w", len(lives), err)
	}
	r := lives[len(lives)-1]
	tmp := file + ".new"
	out, err := os.Create(tmp)
	if err != nil {
		return err
	}
	w := record.NewWriter(out)
	err = w.Process(r.Process)
	for i := range r.Samples {
		err = errors.Join(err, w.Sample(&r.Samples[i]))
	}
	for i := range r.Cycles {
		err = errors.Join(err, w.Cycle(&r.Cycles[i]))
	}
	if !died.IsZero() {
		err = errors.Join(err, w.Event(&record.Event{Time: died, Kind: record.EventOOMKill, Text: "the kernel killed it"}))
	}
	if err = errors.Join(err, w.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func (b *bench) backtest(ctx context.Context, files ...string) error {
	cmd := exec.CommandContext(ctx, b.heapwright, append([]string{"forecast", "--backtest"}, files...)...)
	cmd.Stdout, cmd.Stderr = b.out, os.Stderr
	return cmd.Run()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// feed publishes messages of 1 KiB into a stream in memory, so many bytes a second, until
// the server is gone.
func feed(ctx context.Context, addr string, rate, keeps int) {
	var conn net.Conn
	for conn == nil && ctx.Err() == nil {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		conn = c
	}
	if conn == nil {
		return
	}
	defer conn.Close()
	go io.Copy(io.Discard, conn)
	if keeps == 0 {
		keeps = -1
	}
	stream := fmt.Sprintf(`{"name":"HELD","subjects":["held.*"],"retention":"limits","storage":"memory","discard":"old","max_bytes":%d,"max_msgs":-1,"max_consumers":-1,"num_replicas":1}`, keeps)
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPUB $JS.API.STREAM.CREATE.HELD %d\r\n%s\r\n", len(stream), stream)
	payload := strings.Repeat("x", 1<<10)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for float64(sent) < float64(rate)*time.Since(start).Seconds() {
			if _, err := fmt.Fprintf(conn, "PUB held.a %d\r\n%s\r\n", len(payload), payload); err != nil {
				return
			}
			sent += len(payload)
		}
	}
}
