// Init is the first and only process that a machine of package vm starts with. It mounts
// what a Linux program expects, with cgroup v2 and its controllers, runs the programs
// that its orders name, says over the second serial port what came of each, and powers
// the machine off, whatever happens.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/vm/wire"
)

const (
	disk    = "/dev/nvme0n1"
	cgroups = "/sys/fs/cgroup"
	port    = "/dev/ttyS1"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: is for a virtual machine")
		os.Exit(1)
	}
	host, err := up()
	if err != nil {
		fmt.Println("init:", err) // to the console, where nothing else is there yet
		off()
	}
	orders, err := read()
	if err == nil {
		err = root()
	}
	if err == nil {
		err = controllers(cgroups, orders.Controllers)
	}
	if err == nil {
		err = loopback()
	}
	if err != nil {
		host.send(wire.Frame{Kind: wire.Failure, Why: err.Error()})
		off()
	}
	var name syscall.Utsname
	syscall.Uname(&name)
	host.send(wire.Frame{Kind: wire.Booted, Text: []byte("Linux " + text(name.Release[:]))})
	for i, p := range orders.Programs {
		host.send(run(host, i, p, orders.Controllers))
	}
	host.send(wire.Frame{Kind: wire.Off})
	off()
}

func text(c []int8) string {
	var b strings.Builder
	for _, c := range c {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// off powers off. It does not come back.
func off() {
	syscall.Sync()
	time.Sleep(50 * time.Millisecond) // for the serial port to be drained
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

type host struct {
	mu sync.Mutex
	w  io.Writer
}

func (h *host) send(f wire.Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := wire.Send(h.w, f); err != nil {
		fmt.Println("init: the host does not listen:", err)
	}
}

func mount(from, at, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(from, at, kind, flags, data); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", kind, at, err)
	}
	return nil
}

// up comes so far that the host can be talked with.
func up() (*host, error) {
	if err := mount("dev", "/dev", "devtmpfs", 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
		return nil, err
	}
	// The port's line discipline is left as it is: it sends each line with a return, which
	// the host does not mind.
	w, err := os.OpenFile(port, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return &host{w: w}, nil
}

func read() (*wire.Orders, error) {
	b, err := os.ReadFile(wire.Path)
	if err != nil {
		return nil, err
	}
	o := &wire.Orders{}
	return o, json.Unmarshal(b, o)
}

// root makes the disk the root, and mounts all else there.
func root() error {
	var err error
	for range 500 { // the disk may come a little later
		if err = mount(disk, "/disk", "ext4", 0, ""); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/dev/shm"}, {"tmpfs", "/run"}, {"cgroup2", cgroups},
	} {
		if err := mount(m.kind, "/disk"+m.at, m.kind, 0, ""); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/disk/tmp", 0o777); err != nil {
		return err
	}
	if err := os.Chdir("/disk"); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("making the disk the root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return fmt.Errorf("making the disk the root: %w", err)
	}
	return os.Chdir("/")
}

// controllers turns controllers on for the children of a group.
func controllers(dir string, names []string) error {
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("turning the controller for %s on: %w", name, err)
		}
	}
	return nil
}

// loopback turns the network device lo on, which gives it its addresses. One message of
// rtnetlink does it (include/uapi/linux/rtnetlink.h): RTM_NEWLINK of device 1, with the
// flag and the mask IFF_UP.
func loopback() error {
	const first = 1 // lo is the first device of every network
	s, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("turning the loopback on: %w", err)
	}
	defer syscall.Close(s)
	var m bytes.Buffer
	for _, v := range []any{
		struct {
			Len       uint32
			Type      uint16
			Flags     uint16
			Seq, Port uint32
		}{syscall.SizeofNlMsghdr + syscall.SizeofIfInfomsg, syscall.RTM_NEWLINK, syscall.NLM_F_REQUEST | syscall.NLM_F_ACK, 1, 0},
		syscall.IfInfomsg{Index: first, Flags: syscall.IFF_UP, Change: syscall.IFF_UP},
	} {
		if err := binary.Write(&m, binary.NativeEndian, v); err != nil {
			return err
		}
	}
	if err := syscall.Sendto(s, m.Bytes(), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return fmt.Errorf("turning the loopback on: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(s, answer, 0)
	if err != nil || n < syscall.SizeofNlMsghdr+4 {
		return fmt.Errorf("turning the loopback on: %d bytes of answer, %w", n, err)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[syscall.SizeofNlMsghdr:])); code != 0 {
		return fmt.Errorf("turning the loopback on: %w", syscall.Errno(-code))
	}
	return nil
}

// maxSaid bounds what is passed on of what one program says.
const maxSaid = 1 << 20

// A said passes on what a program says.
type said struct {
	host    *host
	program int

	mu        sync.Mutex
	sent, cut int
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(b)
	if room := maxSaid - s.sent; len(b) > room {
		s.cut += len(b) - room
		b = b[:room]
	}
	for len(b) > 0 {
		part := b[:min(len(b), wire.MaxText)]
		b = b[len(part):]
		s.sent += len(part)
		s.host.send(wire.Frame{Kind: wire.Said, Program: s.program, Text: part})
	}
	return n, nil
}

// run runs a program to its end, and says how it was.
func run(h *host, i int, p wire.Program, names []string) wire.Frame {
	end := wire.Frame{Kind: wire.Ended, Program: i, Exit: -1}
	if len(p.Argv) == 0 {
		end.Why = "there is nothing to run"
		return end
	}
	group, err := makeGroup(p.Group, names)
	if err != nil {
		end.Why = err.Error()
		return end
	}
	h.send(wire.Frame{Kind: wire.Began, Program: i})
	out := &said{host: h, program: i}
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = p.Dir
	cmd.Env = append([]string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin", "HOME=/root", "TMPDIR=/tmp", "USER=root"}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Who is left may hold the pipes: they are not waited for.
	cmd.WaitDelay = 2 * time.Second
	if group != "" {
		dir, err := os.Open(group)
		if err != nil {
			end.Why = err.Error()
			return end
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		end.Why = err.Error()
		return end
	}
	var tooLate atomic.Bool
	late := time.AfterFunc(p.Within, func() {
		tooLate.Store(true)
		// The traces of a Go program first.
		cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(3 * time.Second)
		cmd.Process.Kill()
	})
	stop := reap(cmd.Process.Pid)
	err = cmd.Wait()
	late.Stop()
	stop()
	end.Took = time.Since(began)
	out.mu.Lock()
	end.Cut = out.cut
	out.mu.Unlock()
	end.Exit = cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	switch {
	case tooLate.Load():
		end.Why = fmt.Sprintf("it was killed, since it took more than %v", p.Within)
	case err == nil:
	case errors.As(err, &exit):
		end.Why = exit.Error()
	default:
		end.Why = err.Error()
	}
	return end
}

// makeGroup makes a group and those above it, which have the controllers on.
func makeGroup(name string, names []string) (string, error) {
	if name == "" {
		return "", nil
	}
	dir := cgroups
	for part := range strings.SplitSeq(name, "/") {
		if err := controllers(dir, names); err != nil {
			return "", err
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	return dir, nil
}

// reap waits for the orphans that are the init's to wait for, while a program runs, and
// leaves that one to who started it.
func reap(but int) (stop func()) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-died:
			case <-tick.C:
			}
			for _, pid := range zombies() {
				if pid != but {
					syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
				}
			}
		}
	}()
	return func() {
		signal.Stop(died)
		close(end)
		<-done
	}
}

// zombies are the children of the init that have ended.
func zombies() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var pid, parent int
		var state string
		after := string(b[bytes.LastIndexByte(b, ')')+1:])
		if _, err := fmt.Sscan(after, &state, &parent); err != nil || state != "Z" || parent != 1 {
			continue
		}
		if _, err := fmt.Sscan(string(b), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
