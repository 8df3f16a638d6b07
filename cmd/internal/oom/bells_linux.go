package oom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bells are what the kernel rings when there is something to say of the memory of
// groups. A group needs at most four descriptors for each of its levels with a limit.
type Bells struct {
	epoll int
	wake  int // eventfd that ends the waiting
	c     chan Ring
	done  chan struct{}

	mu     sync.Mutex
	hung   map[int32]*bell
	closed bool
}

type bell struct {
	ring  Ring
	file  *os.File
	count bool // an eventfd, whose count is to be taken
}

// NewBells makes bells, none hung.
func NewBells() (*Bells, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("waiting for cgroups: %w", os.NewSyscallError("epoll_create1", err))
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("waiting for cgroups: %w", os.NewSyscallError("eventfd", err))
	}
	b := &Bells{epoll: ep, wake: wake, c: make(chan Ring, 256), done: make(chan struct{}), hung: map[int32]*bell{}}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		unix.Close(ep)
		unix.Close(wake)
		return nil, fmt.Errorf("waiting for cgroups: %w", os.NewSyscallError("epoll_ctl", err))
	}
	go b.run()
	return b, nil
}

// C gives what rang. Who does not take is not waited for: a bell that rings into a full
// channel is not heard.
func (b *Bells) C() <-chan Ring { return b.c }

// Close takes all bells down.
func (b *Bells) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := unix.Write(b.wake, one[:])
	if err == nil {
		<-b.done
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for fd, h := range b.hung {
		h.file.Close()
		delete(b.hung, fd)
	}
	return errors.Join(err, unix.Close(b.epoll), unix.Close(b.wake))
}

// rest is between two times that bells are heard: usage that goes to and fro at a
// threshold rings thousands of times a second, and who rings is not trusted.
const rest = time.Millisecond

func (b *Bells) run() {
	defer close(b.done)
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(b.epoll, events[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		for _, e := range events[:n] {
			h := b.hung[e.Fd]
			if h == nil {
				continue
			}
			var buf [4096]byte
			if h.count {
				unix.Read(int(e.Fd), buf[:8]) // non-blocking; what it says does not matter
			} else if h.ring.Kind == RingEvents {
				unix.Pread(int(e.Fd), buf[:], 0) // so that it rings again
			}
			select {
			case b.c <- h.ring:
			default:
			}
		}
		b.mu.Unlock()
		time.Sleep(rest)
	}
}

// Hang hangs all bells that the kernel has for a group, and says which: none is no
// error, since who hears no bell has to look often anyway. The thresholds are those of
// the limits as they are now; hang anew when they change.
func (b *Bells) Hang(group string, levels []Level, version int) (kinds []string) {
	b.Take(group)
	got := map[RingKind]bool{}
	for _, l := range levels {
		if l.Limit == 0 || l.Dir == "" {
			continue
		}
		if version == 1 {
			b.hangV1(group, l, got)
		} else {
			b.hangV2(group, l, got)
		}
	}
	for _, k := range []RingKind{RingThreshold, RingPressure, RingOOM, RingEvents, RingPSI} {
		if got[k] {
			kinds = append(kinds, string(k))
		}
	}
	return kinds
}

func (b *Bells) hangV1(group string, l Level, got map[RingKind]bool) {
	control, err := os.OpenFile(filepath.Join(l.Dir, "cgroup.event_control"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer control.Close()
	register := func(kind RingKind, name string, args ...string) {
		of, err := os.Open(filepath.Join(l.Dir, name))
		if err != nil {
			return
		}
		defer of.Close() // the registration stays until the event descriptor is closed
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return
		}
		h := &bell{Ring{group, kind}, os.NewFile(uintptr(fd), "eventfd"), true}
		registered := false
		for _, a := range args {
			if _, err := fmt.Fprintf(control, "%d %d %s", fd, of.Fd(), a); err == nil {
				registered = true
			}
		}
		if !registered || !b.add(fd, h, unix.EPOLLIN) {
			h.file.Close()
			return
		}
		got[kind] = true
	}
	var at []string
	for _, share := range thresholds {
		at = append(at, fmt.Sprint(uint64(share*float64(l.Limit))&^4095))
	}
	register(RingThreshold, "memory.usage_in_bytes", at...)
	register(RingPressure, "memory.pressure_level", "medium")
	register(RingOOM, "memory.oom_control", "")
}

func (b *Bells) hangV2(group string, l Level, got map[RingKind]bool) {
	if f, err := os.Open(filepath.Join(l.Dir, "memory.events")); err == nil {
		fd := int(f.Fd())
		var buf [4096]byte
		unix.Pread(fd, buf[:], 0) // what was until now does not ring
		if b.add(fd, &bell{Ring{group, RingEvents}, f, false}, unix.EPOLLPRI|unix.EPOLLET) {
			got[RingEvents] = true
		} else {
			f.Close()
		}
	}
	if b.psi(group, filepath.Join(l.Dir, "memory.pressure")) == nil {
		got[RingPSI] = true
	}
}

// psiTrigger rings when tasks stalled for 60 ms in two seconds. Who is not privileged
// may ask for windows of whole multiples of two seconds only (kernel/sched/psi.c,
// since Linux 6.4).
const psiTrigger = "some 60000 2000000\x00"

func (b *Bells) psi(group, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(psiTrigger); err != nil {
		f.Close()
		return err
	}
	if !b.add(int(f.Fd()), &bell{Ring{group, RingPSI}, f, false}, unix.EPOLLPRI) {
		f.Close()
		return errors.New("it cannot be polled")
	}
	return nil
}

// HangHost hangs the bell for pressure of the whole machine. The error says why there
// is none: a kernel without PSI, or before Linux 5.2, or no permission.
func (b *Bells) HangHost() error {
	b.Take("")
	if err := b.psi("", "/proc/pressure/memory"); err != nil {
		return fmt.Errorf("asking for notice of memory pressure: %w", err)
	}
	return nil
}

func (b *Bells) add(fd int, h *bell, events uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if err := unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return false
	}
	b.hung[int32(fd)] = h
	return true
}

// Take takes down the bells of a group.
func (b *Bells) Take(group string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for fd, h := range b.hung {
		if h.ring.Group == group {
			h.file.Close() // which takes it out of epoll too
			delete(b.hung, fd)
		}
	}
}
