package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A slow dependency is a proxy between the service and what it depends on. What comes
// in on one side leaves on the other as long after as the level says, in both
// directions, so that a request and its answer take twice that longer. It is a delay
// and no bottleneck: what waits is kept, up to a bound in bytes, and nothing is slowed
// down but by that.
const (
	proxyChunk = 16 << 10
	// proxyLane is how many bytes of one direction of a connection may wait, proxyBudget
	// how many of all of them. A piece is always taken where nothing waits, so that no
	// connection has to wait for another's.
	proxyLane   = 1 << 20
	proxyBudget = 64 << 20
	// proxyPiece is what a piece costs beside its bytes.
	proxyPiece = 96
	// proxyConnections is how many may be open at once; more are refused, and counted.
	proxyConnections = 4096
	proxyDial        = 5 * time.Second
	// cutEvery is how often connections are cut where the plan does not say.
	cutEvery = time.Second
	// maxProxyDelay is the longest delay that makes sense: a service has given up by then.
	maxProxyDelay = time.Minute

	proxySamples = 512
	proxyRecent  = 10 * time.Second
)

// Proxies are those of a plan. They listen before the target starts, since it has to be
// told where, and until everything is over, since it would lose what it depends on.
type Proxies struct {
	mu    sync.Mutex
	named map[string]*proxy
}

// OpenProxies opens a proxy for each fault that needs one. They pass everything
// straight through until an [Effect] has them do otherwise. Where the upstream is a port
// of the target that is still to be started, {port2} for example, [Proxies.Point] says it
// later, and until then nothing is there. Errors: *[RefusedError].
func OpenProxies(faults []chaos.Fault) (*Proxies, error) {
	p := &Proxies{named: map[string]*proxy{}}
	for _, f := range faults {
		if !opensProxy(f) {
			continue
		}
		name := faultName(f)
		later := strings.Contains(f.Upstream, "{port")
		known := f
		if later {
			known.Upstream = unknownUpstream
		}
		err := checkProxy(known)
		if err == nil && p.named[name] != nil {
			err = &RefusedError{Why: fmt.Sprintf("two faults have the name %q", name), hint: "give each a name of its own"}
		}
		var one *proxy
		if err == nil {
			one, err = openProxy(f.Listen, known.Upstream)
		}
		if err != nil {
			p.Close()
			return nil, err
		}
		p.named[name] = one
	}
	return p, nil
}

// unknownUpstream is an address at which nobody ever is (tcpmux, which nothing uses).
const unknownUpstream = "127.0.0.1:1"

// Point says where proxies pass connections on to, by the names of their faults, when a
// target is there by now. Errors: *[RefusedError].
func (p *Proxies) Point(upstreams map[string]string) error {
	for name, upstream := range upstreams {
		one := p.get(name)
		if one == nil {
			continue
		}
		if err := checkProxy(chaos.Fault{Upstream: upstream}); err != nil {
			return err
		}
		one.upstream.Store(&upstream)
	}
	return nil
}

// opensProxy reports whether a fault has a proxy of its own.
func opensProxy(f chaos.Fault) bool {
	info, _ := f.Kind.Info()
	return info.Proxy && f.Proxy == ""
}

// proxyName is the name of the fault that opened the proxy of a fault.
func proxyName(f chaos.Fault) string {
	if f.Proxy != "" {
		return f.Proxy
	}
	return faultName(f)
}

// Addrs are the addresses to connect to, by the names of the faults.
func (p *Proxies) Addrs() map[string]string {
	out := map[string]string{}
	if p == nil {
		return out
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, one := range p.named {
		out[name] = one.addr()
	}
	return out
}

// Close ends all proxies and their connections, and returns when nothing of them is
// left.
func (p *Proxies) Close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, one := range p.named {
		errs = append(errs, one.close())
	}
	clear(p.named)
	return errors.Join(errs...)
}

func (p *Proxies) get(name string) *proxy {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.named[name]
}

// of is the proxy of a fault.
func (p *Proxies) of(f chaos.Fault) (*proxy, error) {
	one := p.get(proxyName(f))
	if one == nil {
		return nil, &RefusedError{Why: fmt.Sprintf("the proxy %q is not open", proxyName(f))}
	}
	return one, nil
}

// faultName is the name of a fault: its kind where it has none.
func faultName(f chaos.Fault) string {
	if f.Name == "" {
		return string(f.Kind)
	}
	return f.Name
}

// checkProxy says what of a fault cannot be.
func checkProxy(f chaos.Fault) error {
	switch {
	case f.Proxy != "":
		return nil
	case f.Upstream == "":
		return &RefusedError{Why: "the proxy has nothing to pass on to", hint: "upstream: the address of the dependency, such as 127.0.0.1:5432"}
	case !isHostPort(f.Upstream):
		return &RefusedError{Why: fmt.Sprintf("%q is no address of a dependency", f.Upstream), hint: "upstream: a host and a port, such as 127.0.0.1:5432"}
	case f.Listen != "" && !isHostPort(f.Listen):
		return &RefusedError{Why: fmt.Sprintf("%q is no address to listen on", f.Listen), hint: "listen: a host and a port, such as 127.0.0.1:0 for any that is free"}
	case f.Listen == f.Upstream:
		return &RefusedError{Why: "the proxy would pass on to itself", hint: "upstream is the dependency, listen the proxy: they cannot be the same"}
	case !(f.Cut >= 0 && f.Cut <= 1):
		return &RefusedError{Why: fmt.Sprintf("the share of connections to cut is %g", float64(f.Cut)), hint: "cut: 0% to 100%"}
	case f.Every < 0:
		return &RefusedError{Why: fmt.Sprintf("the time between two cuts is %v", f.Every), hint: "every: 1s, for example"}
	}
	return nil
}

// everyOf is how often a fault cuts connections.
func everyOf(f chaos.Fault) time.Duration {
	if f.Every == 0 {
		return cutEvery
	}
	return f.Every
}

// isHostPort reports whether a text is a host and the number of a port.
func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// A pace is what a proxy does to what passes. It is replaced, never changed; changed is
// closed then.
type pace struct {
	delay time.Duration
	// share of the connections are in a hole, from which nothing comes out to the
	// dependency, from it, or both.
	share    float64
	to, from bool
	// resets is the share of the connections that are reset, those that come too.
	resets  float64
	changed chan struct{}

	// Connections that had something to say in a direction in which there is a hole, those
	// of them that got it through, and the bytes that came from them.
	tried, passed, bytes atomic.Int64
	// Connections that there were or that came, and those that were reset.
	offered, reset atomic.Int64
}

// across reports whether there is a hole in a direction.
func (p *pace) across(to bool) bool { return p.share > 0 && (to && p.to || !to && p.from) }

// holds reports whether a connection is in the hole, in a direction.
func (p *pace) holds(c *pair, to bool) bool { return p.across(to) && c.draw < p.share }

// hides reports whether a connection is in the hole in any direction, so that the one
// side does not hear of the end of the other.
func (p *pace) hides(c *pair) bool { return p.holds(c, true) || p.holds(c, false) }

// trying notes that a connection had so many bytes to say, or to be connected.
func (p *pace) trying(c *pair, n int) {
	p.bytes.Add(int64(n))
	if c.tried.Swap(p) != p {
		p.tried.Add(1)
	}
}

// passing notes that a connection got something through.
func (p *pace) passing(c *pair) {
	p.trying(c, 0)
	if c.passed.Swap(p) != p {
		p.passed.Add(1)
	}
}

// A proxy passes TCP connections on to one address.
type proxy struct {
	listener net.Listener
	upstream atomic.Pointer[string]

	ctx     context.Context // ends with the proxy
	stop    context.CancelFunc
	work    sync.WaitGroup
	pace    atomic.Pointer[pace]
	budget  atomic.Int64 // bytes that wait beyond the piece that each direction may
	mu      sync.Mutex   // of what follows
	pairs   map[*pair]bool
	cutStop context.CancelFunc // nil while nothing is cut
	waits   [proxySamples]wait
	seen    int // waits that there ever were
	drawn   int // connections

	accepted, refused, cut atomic.Int64
}

// A wait is how long a piece of data took to get through.
type wait struct {
	at   time.Time
	took time.Duration
}

func openProxy(listen, upstream string) (*proxy, error) {
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, &RefusedError{Why: "the proxy cannot listen", Err: err, hint: "listen: an address of this machine that is free, or none for any"}
	}
	p := &proxy{listener: l, pairs: map[*pair]bool{}}
	p.upstream.Store(&upstream)
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.pace.Store(&pace{changed: make(chan struct{})})
	p.work.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			// No descriptors are left, or the other end has gone: the next may do.
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-p.ctx.Done():
				return
			}
		}
		one := &pair{client: c.(*net.TCPConn), done: make(chan struct{})}
		if !p.join(one) {
			p.refused.Add(1)
			reset(one.client)
			continue
		}
		p.accepted.Add(1)
		p.work.Go(func() {
			defer p.leave(one)
			p.serve(one)
		})
	}
}

// join takes a connection in, unless there are too many, it is over, or it is one that is
// to be reset.
func (p *proxy) join(one *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pairs) >= proxyConnections || p.ctx.Err() != nil {
		return false
	}
	// Of any share of the connections, as many are among a few as among all.
	_, one.draw = math.Modf(float64(p.drawn) * math.Phi)
	p.drawn++
	now := p.pace.Load()
	now.offered.Add(1)
	if one.draw < now.resets {
		now.reset.Add(1)
		return false
	}
	p.pairs[one] = true
	return true
}

func (p *proxy) leave(one *pair) {
	p.mu.Lock()
	delete(p.pairs, one)
	p.mu.Unlock()
	one.end(false)
}

// serve connects a client to the dependency, and returns when both have nothing more to
// say to each other.
func (p *proxy) serve(one *pair) {
	var both sync.WaitGroup
	defer both.Wait()
	lane := func(to bool, src, dst *net.TCPConn) *lane {
		return &lane{proxy: p, pair: one, to: to, src: src, dst: dst, more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	}
	// It is read from the beginning, since it may give up before it is connected.
	there := lane(true, one.client, nil)
	both.Go(there.read)
	if !p.reach(one) {
		return
	}
	dialer := net.Dialer{Timeout: proxyDial}
	up, err := dialer.DialContext(p.ctx, "tcp", *p.upstream.Load())
	if err != nil {
		// As the dependency does: it is not there. In a hole that is not heard.
		p.outOf(one, (*pace).hides)
		one.end(true)
		return
	}
	if !one.connected(up.(*net.TCPConn)) {
		return
	}
	there.dst = one.up
	back := lane(false, one.up, one.client)
	both.Go(there.write)
	both.Go(back.read)
	both.Go(back.write)
}

// reach waits until the dependency can be reached; false when it is over.
func (p *proxy) reach(one *pair) bool {
	return p.outOf(one, func(now *pace, one *pair) bool {
		held := now.holds(one, true)
		if held {
			now.trying(one, 0)
		}
		return held
	})
}

// outOf waits until nothing holds a connection; false when it is over.
func (p *proxy) outOf(one *pair, held func(*pace, *pair) bool) bool {
	for {
		now := p.pace.Load()
		if !held(now, one) {
			return true
		}
		select {
		case <-now.changed:
		case <-one.done:
			return false
		}
	}
}

// setDelay changes the delay, also of what waits already.
func (p *proxy) setDelay(d time.Duration) { p.setPace(&pace{delay: d}) }

// setPace changes what happens to what passes, also to what waits already.
func (p *proxy) setPace(to *pace) {
	to.changed = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.pace.Swap(to)
	close(old.changed)
	if to.resets == 0 {
		return
	}
	for one := range p.pairs {
		to.offered.Add(1)
		if one.draw < to.resets {
			to.reset.Add(1)
			one.end(true)
		}
	}
}

// resetHeld resets the connections that are in a hole.
func (p *proxy) resetHeld() {
	now := p.pace.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	for one := range p.pairs {
		if now.hides(one) {
			one.end(true)
		}
	}
}

// setCut begins to cut a share of the connections each so often; a share of 0 ends it.
func (p *proxy) setCut(share float64, every time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutStop != nil {
		p.cutStop()
		p.cutStop = nil
	}
	if share <= 0 || p.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(p.ctx)
	p.cutStop = stop
	p.work.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				p.cutSome(ctx, share)
			}
		}
	})
}

// cutSome resets a share of the connections, to the nearest whole one on average.
func (p *proxy) cutSome(ctx context.Context, share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	all := make([]*pair, 0, len(p.pairs))
	for one := range p.pairs {
		all = append(all, one)
	}
	n := int(share*float64(len(all)) + rand.Float64())
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, one := range all[:min(n, len(all))] {
		one.end(true)
		p.cut.Add(1)
	}
}

// took notes how long a piece took to get through.
func (p *proxy) took(at time.Time, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits[p.seen%proxySamples] = wait{at, d}
	p.seen++
}

// median is the median time that pieces took to get through since a time.
func (p *proxy) median(since time.Time) (time.Duration, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var took []time.Duration
	for _, w := range p.waits[:min(p.seen, proxySamples)] {
		if w.at.After(since) {
			took = append(took, w.took)
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)/2], len(took)
}

// close ends everything, and returns when no goroutine of it is left.
func (p *proxy) close() error {
	p.setCut(0, 0)
	p.mu.Lock()
	p.stop()
	for one := range p.pairs {
		one.end(false)
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.work.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the proxy: %w", err)
	}
	return nil
}

// A pair is a connection and the one it is passed on to.
type pair struct {
	client *net.TCPConn
	done   chan struct{} // closed when it is over
	draw   float64       // 0 to 1: it is in shares that are larger
	// tried and passed are the last paces under which it was counted.
	tried, passed atomic.Pointer[pace]

	mu   sync.Mutex
	up   *net.TCPConn // nil until it is there
	over bool
}

// connected adds the other connection; false when it is over already.
func (c *pair) connected(up *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		reset(up)
		return false
	}
	c.up = up
	return true
}

// end closes both connections, once; with a reset where it is cut.
func (c *pair) end(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	close(c.done)
	for _, one := range []*net.TCPConn{c.client, c.up} {
		switch {
		case one == nil:
		case cut:
			reset(one)
		default:
			one.Close()
		}
	}
}

// reset closes a connection so that the other end is told that it broke, and nothing of
// it stays in the kernel.
func reset(c *net.TCPConn) {
	c.SetLinger(0) // if it fails the connection is gone already
	c.Close()
}

// A piece is data on its way; nil data is its end.
type piece struct {
	at     time.Time // when it came
	data   []byte
	broken bool // it did not end, but broke
	shared bool // it counts against the budget of all
}

// A lane is one direction of a connection.
type lane struct {
	proxy      *proxy
	pair       *pair
	to         bool // from the client to the dependency
	src, dst   *net.TCPConn
	more, room chan struct{} // there is something to write, or to read

	mu      sync.Mutex
	pieces  []piece
	waiting int  // bytes
	over    bool // nothing will be written any more
}

// read takes in what comes, until it ends.
func (l *lane) read() {
	buf := make([]byte, proxyChunk)
	for {
		n, err := l.src.Read(buf)
		if n > 0 && !l.put(piece{data: append([]byte(nil), buf[:n]...)}) {
			return
		}
		now := l.proxy.pace.Load()
		switch {
		case err == nil:
		case l.to && now.hides(l.pair):
			// Who has given up is not kept waiting: there would be more and more of them.
			l.pair.end(err != io.EOF)
			return
		case err == io.EOF:
			l.put(piece{})
			return
		case now.holds(l.pair, l.to):
			l.put(piece{broken: true}) // which the other side learns when it can
			return
		default:
			l.pair.end(true) // it broke on this side, and so it does on the other
			return
		}
	}
}

// put adds a piece, when there is room for it; false when it is over.
func (l *lane) put(p piece) bool {
	p.at = time.Now()
	if now := l.proxy.pace.Load(); p.data != nil && now.across(l.to) {
		now.trying(l.pair, len(p.data))
	}
	for {
		ok, over := l.fits(&p)
		if over {
			return false
		}
		if ok {
			break
		}
		select {
		case <-l.room:
		case <-l.pair.done:
			return false
		}
	}
	wake(l.more)
	return true
}

// fits adds a piece if there is room for it, and it is not over.
func (l *lane) fits(p *piece) (ok, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false, true
	}
	cost := len(p.data) + proxyPiece
	if len(l.pieces) > 0 && p.data != nil {
		if l.waiting+cost > proxyLane {
			return false, false
		}
		if l.proxy.budget.Add(int64(cost)) > proxyBudget {
			l.proxy.budget.Add(-int64(cost))
			return false, false
		}
		p.shared = true
	}
	l.pieces = append(l.pieces, *p)
	l.waiting += cost
	return true, false
}

// front is the piece that is to be written next.
func (l *lane) front() (piece, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pieces) == 0 {
		return piece{}, false
	}
	return l.pieces[0], true
}

// drop takes the piece that was written out.
func (l *lane) drop() {
	l.mu.Lock()
	p := l.pieces[0]
	l.pieces[0] = piece{}
	l.pieces = l.pieces[1:]
	cost := len(p.data) + proxyPiece
	l.waiting -= cost
	l.mu.Unlock()
	if p.shared {
		l.proxy.budget.Add(-int64(cost))
	}
	wake(l.room)
}

// write passes on what has waited long enough, until its end.
func (l *lane) write() {
	defer l.clear()
	for {
		p, ok := l.front()
		if !ok {
			select {
			case <-l.more:
				continue
			case <-l.pair.done:
				return
			}
		}
		now := l.wait(p.at)
		if now == nil {
			return
		}
		if p.broken {
			l.pair.end(true)
			return
		}
		if p.data == nil {
			l.dst.CloseWrite() // if it fails, the other direction will see that too
			return
		}
		if _, err := l.dst.Write(p.data); err != nil {
			if !now.holds(l.pair, !l.to) { // or the one side does not hear of the other
				l.pair.end(true)
			}
			return
		}
		if now.across(l.to) {
			now.passing(l.pair)
		}
		at := time.Now()
		l.proxy.took(at, at.Sub(p.at))
		l.drop()
	}
}

// wait waits until what came at a time may go on, and returns what lets it; nil when it
// is over.
func (l *lane) wait(came time.Time) *pace {
	for {
		now := l.proxy.pace.Load()
		if now.holds(l.pair, l.to) {
			select {
			case <-now.changed:
				continue
			case <-l.pair.done:
				return nil
			}
		}
		left := now.delay - time.Since(came)
		if left <= 0 {
			return now
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-now.changed:
		case <-l.pair.done:
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// clear gives back what was counted of pieces that will not be written.
func (l *lane) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pieces {
		if p.shared {
			l.proxy.budget.Add(-int64(len(p.data) + proxyPiece))
		}
	}
	l.pieces, l.over = nil, true
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func resolveProxy(_ context.Context, f chaos.Fault, _ *Target, _ chaos.Caps, _ Room) (*Resolved, error) {
	if err := checkProxy(f); err != nil {
		return nil, err
	}
	r := &Resolved{Fault: f, From: f.From.Value, Level: f.Level.Value}
	for _, v := range []chaos.Level{f.From, f.Level} {
		if v.Share || !(v.Value >= 0 && v.Value <= maxProxyDelay.Seconds()) {
			return nil, &RefusedError{Why: fmt.Sprintf("a delay of %g", v.Value), hint: fmt.Sprintf("level: 0s to %v, such as 250ms", maxProxyDelay)}
		}
	}
	if f.Level.Value == 0 && f.Cut == 0 {
		return nil, &RefusedError{Why: "a proxy that neither delays nor cuts is no fault", hint: "level: 250ms, or cut: 10%"}
	}
	r.Words = append(r.Words, proxyWords(f))
	if f.Level.Value > 0 {
		r.Words = append(r.Words, fmt.Sprintf("what passes is kept for %v in each direction, up to %d KiB of it a connection and direction", seconds(f.Level.Value), proxyLane>>10))
	}
	if f.Cut > 0 {
		r.Words = append(r.Words, fmt.Sprintf("each %v, %.3g%% of the connections are reset", everyOf(f), 100*float64(f.Cut)))
	}
	return r, nil
}

// proxyWords say where the proxy of a fault is.
func proxyWords(f chaos.Fault) string {
	if f.Proxy != "" {
		return fmt.Sprintf("the proxy of the fault %s", f.Proxy)
	}
	listen := f.Listen
	if listen == "" {
		listen = "a free port of 127.0.0.1"
	}
	return fmt.Sprintf("a proxy on %s passes connections on to %s; it listens from before the target starts until the end", listen, f.Upstream)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// A slow is the effect of a proxy.
type slow struct {
	proxy *proxy
	share float64
	every time.Duration

	mu    sync.Mutex
	began time.Time // zero before the first level
	cut   int64     // connections that were cut before
	over  bool
}

func makeProxy(_ context.Context, r *Resolved, t *Target, _ Journal) (Effect, error) {
	p, err := t.Proxies.of(r.Fault)
	if err != nil {
		return nil, err
	}
	s := &slow{proxy: p, share: float64(r.Cut), every: everyOf(r.Fault)}
	if r.Level == 0 && s.share > 0 { // it only cuts: there is no level to come
		s.begin()
	}
	return s, nil
}

// begin begins to cut connections, once.
func (s *slow) begin() {
	if s.began.IsZero() {
		s.began = time.Now()
		s.cut = s.proxy.cut.Load()
		s.proxy.setCut(s.share, s.every)
	}
}

// Set sets the delay. Connections are cut from the first level on.
func (s *slow) Set(_ context.Context, level float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errUndone
	}
	if !(level >= 0 && level <= maxProxyDelay.Seconds()) {
		return fmt.Errorf("setting the delay of a proxy: %g seconds", level)
	}
	s.proxy.setDelay(seconds(level))
	s.begin()
	return nil
}

// Measure is the median time that data took to get through: what really left, when,
// not what was set. Where nothing passes, nothing can be said.
func (s *slow) Measure() (float64, string, bool) {
	s.mu.Lock()
	since := s.began
	s.mu.Unlock()
	if since.IsZero() {
		return 0, "", false
	}
	if recent := time.Now().Add(-proxyRecent); recent.After(since) {
		since = recent
	}
	d, n := s.proxy.median(since)
	if n == 0 {
		return 0, "", false
	}
	by := fmt.Sprintf("the median time that %d pieces of data took through the proxy", n)
	if cut := s.Cuts(); cut > 0 {
		by += fmt.Sprintf(", which cut %d connections", cut)
	}
	return d.Seconds(), by, true
}

// Cuts is how many connections it has cut.
func (s *slow) Cuts() int64 {
	s.mu.Lock()
	before := s.cut
	s.mu.Unlock()
	return s.proxy.cut.Load() - before
}

// Undo lets everything pass at once, also what waits. The proxy goes on listening.
func (s *slow) Undo(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.proxy.setCut(0, 0)
	s.proxy.setDelay(0)
	return nil
}
