package fault

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
)

// A flood is connections to the service that send a beginning and then nothing, so that
// it keeps a goroutine for each. What the service closes stays closed, and is counted:
// that it does so is what is to be seen.
const (
	// floodPace is how many are opened a second, floodAtOnce how many at once where the
	// plan does not say.
	floodPace   = 1000
	floodAtOnce = 16
	floodDial   = 5 * time.Second
	// floodFailures in a row end a Set.
	floodFailures = 10
	// maxSend is how much each sends first; maxHeard how much it takes of an answer
	// before it stops listening.
	maxSend  = 64 << 10
	maxHeard = 64 << 10
	// spareFiles are descriptors that are left for everything else.
	spareFiles = 512
	// maxTCPLines bounds what is read of the kernel's tables.
	maxTCPLines = 1 << 20
)

// A ConnectError says that not as many connections could be opened as should be. Those
// that are open stay open.
type ConnectError struct {
	Open, Want int
	Err        error
}

func (e *ConnectError) Error() string {
	// Without the numbers, which move: who asks again and again is told the same.
	return "not as many connections could be opened as should be: " + e.Err.Error()
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Hint is what a user can do about it.
func (e *ConnectError) Hint() string {
	return fmt.Sprintf("of %d there are %d: the service, or the kernel for it, takes no more", e.Want, e.Open)
}

func resolveFlood(ctx context.Context, f chaos.Fault, t *Target, _ chaos.Caps, _ Room) (*Resolved, error) {
	r := &Resolved{Fault: f, From: f.From.Value, Level: f.Level.Value}
	for _, l := range []chaos.Level{f.From, f.Level} {
		if l.Share || !(l.Value >= 0 && l.Value < 1<<20) || l.Value != math.Trunc(l.Value) {
			return nil, &RefusedError{Why: fmt.Sprintf("a level of %g connections", l.Value), hint: "level: a number, such as 5000"}
		}
	}
	switch {
	case r.Level == 0:
		return nil, &RefusedError{Why: "a level of nothing is no fault", hint: "level: a number of connections"}
	case !isHostPort(f.Address):
		return nil, &RefusedError{Why: fmt.Sprintf("%q is no address to connect to", f.Address), hint: "address: where the service listens, such as 127.0.0.1:8080"}
	case len(f.Send) > maxSend:
		return nil, &RefusedError{Why: fmt.Sprintf("each would send %d bytes first", len(f.Send)), hint: fmt.Sprintf("send: at most %d", maxSend)}
	}
	most := uint64(max(r.From, r.Level))
	if files, ok := openFiles(); ok && most+spareFiles > files {
		return nil, &RefusedError{Why: fmt.Sprintf("%d connections are more than heapwright may have files open: RLIMIT_NOFILE is %d, of which %d are for other things", most, files, spareFiles), hint: "ulimit -n, or a lower level"}
	}
	if ports, ok := localPorts(); ok && most > ports*4/5 {
		return nil, &RefusedError{Why: fmt.Sprintf("%d connections are more than four fifths of the %d ports that there are for them", most, ports), hint: "sysctl net.ipv4.ip_local_port_range, or a lower level"}
	}
	if err := isTargets(ctx, t, f.Address); err != nil {
		return nil, err
	}
	word := fmt.Sprintf("up to %d connections to %s, at most %d new ones a second, that say nothing", int(r.Level), f.Address, floodPace)
	if f.Send != "" {
		word = fmt.Sprintf("up to %d connections to %s, at most %d new ones a second, that send %d bytes and then nothing", int(r.Level), f.Address, floodPace, len(f.Send))
	}
	r.Words = append(r.Words, word, "what the service closes is not opened again; in the end all are reset")
	return r, nil
}

// isTargets refuses an address that is not the target's: what listens elsewhere is not
// to suffer.
func isTargets(ctx context.Context, t *Target, address string) error {
	const hint = "address: where that very process listens; of a container its own address, not the one that is published for it"
	l, err := goproc.Listening(t.PID)
	if err != nil {
		return refusedBy("where the target listens cannot be seen", err)
	}
	its, err := listensAt(ctx, t.PID, address)
	if err != nil {
		return refusedBy("where the target listens cannot be seen", err)
	}
	if its && l.Elsewhere {
		host, number, err := net.SplitHostPort(address)
		if err != nil {
			return refusedBy("where the target listens cannot be seen", err)
		}
		port, _ := strconv.ParseUint(number, 10, 16) // isHostPort has looked
		at, err := netip.ParseAddr(host)
		its = err == nil && !at.IsLoopback() && listens(l.Addresses, []netip.Addr{at}, uint16(port)) && hasAddress(t.PID, at)
	}
	if !its {
		return &RefusedError{Why: fmt.Sprintf("process %d does not listen at %s", t.PID, address), hint: hint}
	}
	return nil
}

// hasAddress reports whether an address is one of the network that a process is in.
func hasAddress(pid int, at netip.Addr) bool {
	at = at.Unmap()
	name, has := "net/if_inet6", hasIPv6
	if at.Is4() {
		name, has = "net/fib_trie", hasIPv4
	}
	text, err := readText(procPath("", pid, name))
	return err == nil && has(text, at)
}

// hasIPv4 reads /proc/PID/net/fib_trie: below an address is what it is.
func hasIPv4(text string, at netip.Addr) bool {
	found := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if a, ok := strings.CutPrefix(line, "|-- "); ok {
			found = a == at.String()
		} else if found && strings.HasPrefix(line, "/32 ") && strings.HasSuffix(line, "LOCAL") {
			return true
		}
	}
	return false
}

// hasIPv6 reads /proc/PID/net/if_inet6.
func hasIPv6(text string, at netip.Addr) bool {
	want := at.As16()
	for line := range strings.Lines(text) {
		if a, _, _ := strings.Cut(line, " "); strings.EqualFold(a, hex.EncodeToString(want[:])) {
			return true
		}
	}
	return false
}

// openFiles is how many descriptors this process may have.
func openFiles() (uint64, bool) {
	text, err := readText("/proc/self/limits")
	if err != nil {
		return 0, false
	}
	return parseLimit(text, "Max open files")
}

func parseLimit(text, name string) (uint64, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) == 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(f[0], 10, 64)
		return n, err == nil
	}
	return 0, false
}

// localPorts is how many ports there are for connections to one address.
func localPorts() (uint64, bool) {
	text, err := readText("/proc/sys/net/ipv4/ip_local_port_range")
	f := strings.Fields(text)
	if err != nil || len(f) != 2 {
		return 0, false
	}
	from, err1 := strconv.ParseUint(f[0], 10, 16)
	to, err2 := strconv.ParseUint(f[1], 10, 16)
	return to - from + 1, err1 == nil && err2 == nil && from <= to
}

// A flood is the effect of connections.
type flood struct {
	address string
	port    uint16
	send    []byte
	atOnce  int
	target  *Target
	base    uint64 // goroutines of the target before; 0 where that is not known
	eye     *eye   // nil where the target is no Go process
	gate    *gate
	ctx     context.Context // ends with Undo
	stop    context.CancelFunc
	work    sync.WaitGroup // of the connections

	mu     sync.Mutex
	open   map[*net.TCPConn]uint16 // with their ports
	ports  map[uint16]bool         // of all that there ever were
	closed int                     // by the service, of the level that there is
	all    int                     // closed by the service so far
	next   time.Time               // when another may be opened
	over   bool
}

func makeFlood(ctx context.Context, r *Resolved, t *Target, _ Journal) (Effect, error) {
	if err := isTargets(ctx, t, r.Address); err != nil {
		return nil, err
	}
	_, number, _ := net.SplitHostPort(r.Address)
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, &RefusedError{Why: fmt.Sprintf("%q is no address to connect to", r.Address)}
	}
	f := &flood{address: r.Address, port: uint16(port), send: []byte(r.Send), atOnce: floodAtOnce, target: t, gate: newGate(), open: map[*net.TCPConn]uint16{}, ports: map[uint16]bool{}}
	if r.Concurrency > 0 {
		f.atOnce = min(r.Concurrency, 256)
	}
	if f.eye, err = openEye(ctx, t); err == nil {
		if s, err := f.eye.look(); err == nil {
			f.base = uint64(s.Goroutines)
		}
	} else {
		f.eye = nil // any server has connections
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// Set opens or closes connections until there are, or were, so many. Errors:
// *[ConnectError].
func (f *flood) Set(ctx context.Context, level float64) error {
	if !(level >= 0 && level < 1<<20) {
		return fmt.Errorf("opening connections: %g of them", level)
	}
	ctx, leave, err := f.gate.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	want := int(level)
	f.shrink(want)
	err = f.grow(ctx, want)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// shrink closes as many as are too many: those that the service has closed are not there
// to be closed.
func (f *flood) shrink(want int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := len(f.open) + f.closed - want
	gone := max(0, min(over, f.closed))
	f.closed -= gone
	for c := range f.open {
		if over -= 1; over < gone {
			return
		}
		delete(f.open, c)
		reset(c)
	}
}

// grow opens as many as are missing.
func (f *flood) grow(ctx context.Context, want int) error {
	f.mu.Lock()
	missing := want - len(f.open) - f.closed
	f.mu.Unlock()
	if missing <= 0 {
		return nil
	}
	turns := make(chan struct{}, missing)
	for range missing {
		turns <- struct{}{}
	}
	close(turns)
	var work sync.WaitGroup
	var mu sync.Mutex
	var failed error
	failures := 0
	for range min(f.atOnce, missing) {
		work.Go(func() {
			for range turns {
				err := f.dial(ctx)
				mu.Lock()
				if failures++; err == nil {
					failures = 0
				} else {
					failed = err
				}
				stop := failures >= floodFailures
				mu.Unlock()
				if stop || ctx.Err() != nil {
					return
				}
			}
		})
	}
	work.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := len(f.open) + f.closed; got < want && failed != nil {
		return &ConnectError{got, want, failed}
	}
	return nil
}

// dial opens one, when it is its turn.
func (f *flood) dial(ctx context.Context) error {
	f.mu.Lock()
	now := time.Now()
	if f.next.Before(now) {
		f.next = now
	}
	wait := f.next.Sub(now)
	f.next = f.next.Add(time.Second / floodPace)
	f.mu.Unlock()
	if wait > 0 {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	d := net.Dialer{Timeout: floodDial, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", f.address)
	if err != nil {
		return err
	}
	c := conn.(*net.TCPConn)
	port := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	f.mu.Lock()
	if f.over {
		f.mu.Unlock()
		reset(c)
		return errUndone
	}
	f.open[c] = port
	f.ports[port] = true
	f.work.Go(func() { f.hold(c) })
	f.mu.Unlock()
	return nil
}

// hold sends what is sent first, and waits until the service or we close it.
func (f *flood) hold(c *net.TCPConn) {
	c.SetWriteDeadline(time.Now().Add(floodDial))
	_, err := c.Write(f.send)
	var buf [64]byte
	for heard := 0; err == nil && heard < maxHeard; {
		var n int
		n, err = c.Read(buf[:])
		heard += n
	}
	if err == nil { // it does not stop talking
		<-f.ctx.Done()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ours := f.open[c]; ours {
		delete(f.open, c)
		f.closed++
		f.all++
		reset(c)
	}
}

// Measure counts the connections that are established on the side of the target, by
// what the kernel says of the network that it is in, and those that the service has
// closed: a service that does not wait for who says nothing has met the flood, too.
func (f *flood) Measure() (float64, string, bool) {
	f.mu.Lock()
	ports := make(map[uint16]bool, len(f.open))
	for _, p := range f.open {
		ports[p] = true
	}
	closed, all := f.closed, f.all
	f.mu.Unlock()
	n, err := countTCP(f.target.PID, func(l tcpLine) bool {
		return l.state == established && l.local == f.port && ports[l.remote]
	})
	if err != nil {
		return 0, "", false
	}
	by := "connections that are established on the target's side"
	if all > 0 {
		by = fmt.Sprintf("%d %s; it has closed %d", n, by, all)
	}
	if f.eye != nil && f.base > 0 {
		if s, err := f.eye.look(); err == nil {
			by += fmt.Sprintf("; it has %+d goroutines", s.Goroutines-int64(f.base))
		}
	}
	return float64(n + closed), by, true
}

// Undo resets all connections, and looks that none is left.
func (f *flood) Undo(ctx context.Context) error {
	f.gate.close()
	f.mu.Lock()
	over := f.over
	f.over = true
	for c := range f.open {
		delete(f.open, c)
		reset(c)
	}
	f.mu.Unlock()
	f.stop()
	leave, ok := f.gate.wait(ctx, floodDial)
	if !ok {
		return errors.New("closing connections: one is still being opened")
	}
	defer leave()
	f.work.Wait()
	if !over && f.eye != nil {
		f.eye.close()
	}
	for {
		// A port of ours may be another's by now: only what is open here is ours.
		ours, err := ownSockets()
		n := 0
		if err == nil {
			n, err = countTCP(os.Getpid(), func(l tcpLine) bool {
				return l.remote == f.port && f.ports[l.local] && ours[l.inode]
			})
		}
		if err == nil && n == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%d of them are still there", n)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("closing connections: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Contained: only the target is connected to.
func (f *flood) Contained() bool { return true }

// established is a state of sockets (include/net/tcp_states.h).
const established = "01"

// A tcpLine is a connection, as the kernel lists it.
type tcpLine struct {
	local, remote uint16 // ports
	state         string
	inode         string
}

// countTCP counts the connections in the network of a process that are wanted.
func countTCP(pid int, wanted func(tcpLine) bool) (int, error) {
	total, failed := 0, 0
	var err error
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		var file *os.File
		if file, err = os.Open(procPath("", pid, name)); err != nil {
			failed++
			continue
		}
		total += parseTCP(file, wanted)
		file.Close()
	}
	if failed == 2 {
		return 0, err
	}
	return total, nil
}

// parseTCP reads /proc/PID/net/tcp or tcp6.
func parseTCP(r io.Reader, wanted func(tcpLine) bool) int {
	count := 0
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan() && n < maxTCPLines; n++ {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		local, ok1 := hexPort(f[1])
		remote, ok2 := hexPort(f[2])
		if ok1 && ok2 && wanted(tcpLine{local, remote, f[3], f[9]}) {
			count++
		}
	}
	return count
}

// hexPort is the port of "0100007F:1F90".
func hexPort(s string) (uint16, bool) {
	_, text, ok := strings.Cut(s, ":")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 16)
	return uint16(n), err == nil
}

// ownSockets are the inodes of the sockets that this process has open.
func ownSockets() (map[string]bool, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own, nil
}
