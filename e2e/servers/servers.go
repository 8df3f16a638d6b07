// Package servers builds, starts and loads real servers that nobody here
// wrote: NATS, Caddy, etcd, CoreDNS, Prometheus, VictoriaMetrics and an OpenTelemetry
// Collector, at pinned versions, on loopback only.
//
// They are the subjects on which Heapwright must be right about programs that
// know nothing of it. The package does not use Heapwright.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Server is one of the real servers.
type Server struct {
	Name   string
	Recipe Recipe

	configure func(dir string, port func() int) (config, error)
}

// config is what a server needs to be started in a directory, and how it is
// reached then.
type config struct {
	args  []string
	env   []string
	ready func(ctx context.Context) error
	pprof string // base URL of /debug/pprof
	load  func(ctx context.Context, opt Load) (Stats, error)
	// fill, when set, is called once the server answers, and gives it something to
	// keep; stop is called after its end.
	fill func(ctx context.Context) error
	stop func()
}

// All lists the servers, the quickest to build first.
func All() []Server { return []Server{NATS, Etcd, Caddy, CoreDNS} }

// Options say how an instance is started. The zero value is a server as its
// users run it.
type Options struct {
	Env []string // added to an environment without any of the Go runtime's settings
	// Wrap, when set, may change the command before it starts, for example to
	// put it into a cgroup or a namespace.
	Wrap func(*exec.Cmd)
}

// An Instance is a running server.
type Instance struct {
	Server Server
	PID    int
	Pprof  string // base URL of its own /debug/pprof endpoint

	conf config
	cmd  *exec.Cmd
	log  string
	exit chan struct{} // closed when it has ended
	err  error         // how, valid after exit
	once sync.Once
}

// Start runs the server at path bin in the directory dir, which must exist and
// is not removed, and returns when it answers.
func (s Server) Start(ctx context.Context, bin, dir string, opt Options) (*Instance, error) {
	// Ports are found by asking for a free one, and another process may take it
	// before the server does: such a start fails at once and is tried again.
	var err error
	for range 3 {
		var inst *Instance
		inst, err = s.start(ctx, bin, dir, opt)
		if err == nil {
			return inst, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("starting %s: %w", s.Name, err)
}

func (s Server) start(ctx context.Context, bin, dir string, opt Options) (*Instance, error) {
	var portErr error
	conf, err := s.configure(dir, func() int {
		p, err := freePort()
		portErr = errors.Join(portErr, err)
		return p
	})
	started := false
	defer func() {
		if !started && conf.stop != nil {
			conf.stop()
		}
	}()
	if err := errors.Join(err, portErr); err != nil {
		return nil, err
	}
	logPath := filepath.Join(dir, s.Name+".log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()

	cmd := exec.Command(bin, conf.args...)
	cmd.Dir = dir
	cmd.Env = append(append(cleanEnv(), conf.env...), opt.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if opt.Wrap != nil {
		opt.Wrap(cmd)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started = true
	i := &Instance{Server: s, PID: cmd.Process.Pid, Pprof: conf.pprof, conf: conf, cmd: cmd, log: logPath, exit: make(chan struct{})}
	go func() {
		i.err = cmd.Wait()
		if conf.stop != nil {
			conf.stop()
		}
		close(i.exit)
	}()

	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		err := conf.ready(ctx)
		if err == nil {
			return i, i.fill(ctx)
		}
		select {
		case <-i.exit:
			return nil, fmt.Errorf("it ended: %v\n%s", i.err, i.Log())
		case <-ctx.Done():
			i.Stop()
			return nil, fmt.Errorf("it never answered (%v)\n%s", err, i.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fill gives a server that answers something to keep, and stops it when that fails.
func (i *Instance) fill(ctx context.Context) error {
	if i.conf.fill == nil {
		return nil
	}
	if err := i.conf.fill(ctx); err != nil {
		return fmt.Errorf("filling it: %w", errors.Join(err, i.Stop()))
	}
	return nil
}

// Log returns the end of what the server printed.
func (i *Instance) Log() string {
	b, _ := os.ReadFile(i.log)
	return tail(string(b), 20)
}

// Stop asks the server to end, kills it when it has not after ten seconds, and
// returns when it is gone. A server that had ended by itself is an error.
func (i *Instance) Stop() error {
	var err error
	i.once.Do(func() {
		select {
		case <-i.exit:
			err = fmt.Errorf("%s had ended by itself: %v\n%s", i.Server.Name, i.err, i.Log())
			return
		default:
		}
		i.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-i.exit:
		case <-time.After(10 * time.Second):
			i.cmd.Process.Kill()
			<-i.exit
			err = fmt.Errorf("%s did not stop on SIGTERM", i.Server.Name)
		}
	})
	return err
}

// A Load is what is asked of a server. It ends at the context's end, or after
// Ops operations.
type Load struct {
	// Rate is operations per second over all workers, 0 for as fast as the
	// server answers.
	Rate float64
	// Ops bounds the number of operations; 0 is no bound.
	Ops int64
	// Workers is the number of concurrent clients; 0 is the server's default.
	Workers int
	// Done, when not nil, counts the operations answered correctly, while the
	// load runs.
	Done *atomic.Int64
}

// Stats is what a load did.
type Stats struct {
	Ops     int64 // operations the server answered correctly
	Errors  int64
	LeftOut int64 // operations that were due but too late to be asked
	Elapsed time.Duration
}

// PerSecond is the throughput.
func (s Stats) PerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Ops) / s.Elapsed.Seconds()
}

// ModerateLoad is a rate that leaves most of a small machine's CPU to others.
func (i *Instance) ModerateLoad() Load {
	switch i.Server.Name {
	case "nats":
		return Load{Rate: 20000}
	case "coredns":
		return Load{Rate: 2000}
	case "etcd":
		return Load{Rate: 300}
	default:
		return Load{Rate: 1000}
	}
}

// Load puts load on the server until ctx ends or the operations are done. An
// answer that is wrong is an error; the end of ctx is not.
func (i *Instance) Load(ctx context.Context, opt Load) (Stats, error) {
	if _, bounded := ctx.Deadline(); !bounded && opt.Ops == 0 {
		return Stats{}, fmt.Errorf("loading %s: neither time nor operations are bounded", i.Server.Name)
	}
	start := time.Now()
	st, err := i.conf.load(ctx, opt)
	st.Elapsed = time.Since(start)
	if err != nil {
		return st, fmt.Errorf("loading %s: %w", i.Server.Name, err)
	}
	if st.Ops == 0 {
		return st, fmt.Errorf("loading %s: nothing was answered", i.Server.Name)
	}
	return st, nil
}

// cleanEnv is this process's environment without the Go runtime's settings,
// which would otherwise change what is measured.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK":
		default:
			env = append(env, kv)
		}
	}
	return env
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// httpReady is ready when the URL answers 200.
func httpReady(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, http.DefaultClient, url)
		return err
	}
}

// get fetches a body of at most 16 MiB and demands status 200.
func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return do(c, req)
}

func do(c *http.Client, req *http.Request) ([]byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", req.URL.Path, resp.Status, body)
	}
	return body, nil
}

// Profile fetches a profile, such as "heap", from the server's own endpoint.
func (i *Instance) Profile(ctx context.Context, kind string) ([]byte, error) {
	b, err := get(ctx, http.DefaultClient, i.Pprof+"/"+kind)
	if err != nil {
		return nil, fmt.Errorf("fetching %s's own %s profile: %w", i.Server.Name, kind, err)
	}
	return b, nil
}
