package peers

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// restartAfter is how long a supervisor waits before it starts a service again that
// has been killed. Kubernetes begins with ten seconds.
const restartAfter = time.Second

// A Box is what a service may have.
type Box struct {
	MemoryBytes uint64  `json:"memory_bytes"`
	Cores       float64 `json:"cores"`
}

// A Service is a guarded service in a container, which is started again when it
// ends.
type Service struct {
	Guard  string
	Socket string

	admin  string
	dir    string
	bin    string
	args   []string
	cgroup *harness.Cgroup
	log    *os.File
	begin  time.Time
	client *http.Client
	cancel context.CancelFunc
	ended  chan struct{}

	mu         sync.Mutex
	conditions map[string]func() string // what is to be said to a new process, by its kind
	deaths     []Death
	failed     error
}

// A Death is an end of the service that nobody asked for.
type Death struct {
	At  time.Duration // since the begin
	OOM bool          // the kernel killed it for the cgroup's limit
}

// StartService starts bin with a guard in a box. Its files are in a directory of
// its own below dir, which Stop removes, but for the log.
func StartService(ctx context.Context, bin, guard, dir string, box Box, args ...string) (*Service, error) {
	own, err := os.MkdirTemp(dir, "service-")
	if err != nil {
		return nil, err
	}
	s := &Service{
		Guard: guard, bin: bin, dir: own, args: args,
		Socket: filepath.Join(own, "service"), admin: filepath.Join(own, "admin"),
		begin: time.Now(), ended: make(chan struct{}), conditions: map[string]func() string{},
	}
	s.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		path := s.admin
		if strings.HasPrefix(addr, "service") {
			path = s.Socket
		}
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}, DisableKeepAlives: true}}
	if s.cgroup, err = harness.MakeCgroup(harness.Limits{MemoryBytes: box.MemoryBytes, CPUCores: box.Cores, CPUAccount: true}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, guard+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, errors.Join(err, s.cgroup.Remove(), os.RemoveAll(own))
	}
	ctx, s.cancel = context.WithCancel(ctx)
	go s.supervise(ctx)
	ready, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := s.await(ready); err != nil {
		_, stopErr := s.Stop()
		return nil, errors.Join(fmt.Errorf("starting %s: %w", guard, err), stopErr)
	}
	return s, nil
}

// Begin sets what times count from.
func (s *Service) Begin(t time.Time) {
	s.mu.Lock()
	s.begin = t
	s.mu.Unlock()
}

// supervise starts the service over and over.
func (s *Service) supervise(ctx context.Context) {
	defer close(s.ended)
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-time.After(restartAfter):
			}
		}
		before, err := s.cgroup.OOMKills()
		if err == nil {
			err = s.once(ctx, first)
		}
		if ctx.Err() != nil {
			return
		}
		after, countErr := s.cgroup.OOMKills()
		s.mu.Lock()
		s.deaths = append(s.deaths, Death{time.Since(s.begin), after > before})
		if after == before || countErr != nil {
			s.failed = fmt.Errorf("%s ended by itself: %w", s.Guard, errors.Join(err, countErr))
		}
		s.mu.Unlock()
	}
}

// once runs the service until it ends. Its processes see the CPU's cgroups as a
// container's do, as the root: go-zero looks nowhere else. A neighbour in the memory
// cgroup is never killed in the service's place.
func (s *Service) once(ctx context.Context, first bool) error {
	script := `set -e
echo 1000 > /proc/$$/oom_score_adj
echo $$ > "$1/cgroup.procs"; echo $$ > "$2/cgroup.procs"; echo $$ > "$3/cgroup.procs"
mount --bind "$2" /sys/fs/cgroup/cpu; mount --bind "$3" /sys/fs/cgroup/cpuacct
shift 3; exec "$@"`
	argv := []string{"-c", script, "sh", s.cgroup.Dir("memory"), s.cgroup.Dir("cpu"), s.cgroup.Dir("cpuacct"),
		s.bin, "-guard", s.Guard, "-listen", s.Socket, "-admin", s.admin}
	cmd := exec.Command("/bin/sh", append(argv, s.args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GO") })
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return err
	}
	running := make(chan struct{})
	var said sync.WaitGroup
	said.Go(func() {
		select {
		case <-ctx.Done():
			cmd.Process.Kill()
		case <-running:
		}
	})
	if !first {
		said.Go(func() {
			ready, stop := context.WithTimeout(ctx, 30*time.Second)
			defer stop()
			if s.await(ready) == nil {
				s.remind()
			}
		})
	}
	err := cmd.Wait()
	close(running)
	said.Wait()
	return err
}

// await waits until the service answers.
func (s *Service) await(ctx context.Context) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service/healthz", nil)
		if err != nil {
			return err
		}
		resp, err := s.client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		if failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Tell says something to the admin socket, such as "dependency?latency=1s", and
// again, as it then is, to every process that is started later. An empty text from
// then on is not said.
func (s *Service) Tell(kind string, text func() string) {
	s.mu.Lock()
	s.conditions[kind] = text
	s.mu.Unlock()
	s.say(text())
}

func (s *Service) remind() {
	s.mu.Lock()
	var texts []string
	for _, f := range s.conditions {
		texts = append(texts, f())
	}
	s.mu.Unlock()
	for _, text := range texts {
		s.say(text)
	}
}

// say says it as often as it takes: a service without memory or CPU may be slow to
// accept.
func (s *Service) say(text string) {
	if text == "" {
		return
	}
	for range 5 {
		resp, err := s.client.Post("http://admin/"+text, "", nil)
		if err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Status is what the guard says of itself, "" where it does not answer.
func (s *Service) Status() string {
	resp, err := s.client.Get("http://admin/status")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// MemoryDir is the service's memory cgroup.
func (s *Service) MemoryDir() string { return s.cgroup.Dir("memory") }

// MemoryBytes is what is charged to the cgroup, without page cache.
func (s *Service) MemoryBytes() uint64 {
	text, err := os.ReadFile(filepath.Join(s.MemoryDir(), "memory.stat"))
	if err != nil {
		return 0
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "total_inactive_anon", "total_active_anon", "total_unevictable":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return 0
			}
			sum += n
		}
	}
	return sum
}

// CPUSeconds is what the service has used since it was first started.
func (s *Service) CPUSeconds() float64 {
	text, err := os.ReadFile(filepath.Join(s.cgroup.Dir("cpuacct"), "cpuacct.usage"))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return float64(n) / 1e9
}

// Deaths are the ends of the service that nobody asked for, so far.
func (s *Service) Deaths() []Death {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deaths)
}

// Stop ends the service, and says how often it had been killed.
func (s *Service) Stop() ([]Death, error) {
	s.cancel()
	<-s.ended
	s.client.CloseIdleConnections()
	// The kernel takes a moment to empty the cgroup of a killed process.
	var err error
	for range 100 {
		if err = s.cgroup.Remove(); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	err = errors.Join(err, s.log.Close(), os.RemoveAll(s.dir))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaths, errors.Join(err, s.failed)
}
