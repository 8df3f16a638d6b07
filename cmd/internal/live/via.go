package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/record"
)

// A program that uses this project's memlimit sets its own GOMEMLIMIT, and is not
// written to. Where it serves package debugz with AllowChange, it is asked instead:
// memlimit makes the change itself, for the time of a lease. That lease takes the
// place of the watchdog: it is short while the tool watches, is renewed by it, and
// ends by itself when the tool is no more.
const (
	viaLease = 2 * time.Minute
	// ViaKept is how long a change stays that was kept: what is to stay for longer
	// belongs into the program's configuration.
	ViaKept = 24 * time.Hour

	viaTimeout = 10 * time.Second
	maxAnswer  = 16 << 20
	maxReason  = 300 // bytes of what an endpoint says is wrong

	debugzSchema   = "heapwright.debugz/1"
	overrideSchema = "heapwright.debugz.override/1"
	debugzPath     = "/debug/heapwright/"
)

// An EndpointError says why a program's own debug page is no way to change it.
type EndpointError struct {
	URL    string
	Reason string
	Advice string // "" for none
	Err    error  // nil for none
}

func (e *EndpointError) Error() string { return e.URL + ": " + e.Reason }

func (e *EndpointError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *EndpointError) Hint() string { return e.Advice }

// An endpoint is the debug page of a program (package debugz).
type endpoint struct {
	base   *url.URL // ends in a slash
	client *http.Client
}

// openEndpoint takes the URL of a debug page, with or without a slash at its end;
// without a path the usual one is meant.
func openEndpoint(text string) (*endpoint, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &EndpointError{text, "this is not the address of a debug page", "it is one such as http://127.0.0.1:6060" + debugzPath, nil}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = debugzPath
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	return &endpoint{u, &http.Client{
		Timeout:   viaTimeout,
		Transport: &http.Transport{DisableKeepAlives: true}, // and no proxy: it would hide where we are
		// A POST that is redirected becomes a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// settingPair is a pair of settings as the endpoint has it.
type settingPair struct {
	GOGC       int64 `json:"gogc_percent"`
	GOMEMLIMIT int64 `json:"gomemlimit_bytes"`
}

// call makes a request and reads the answer into v.
func (e *endpoint) call(ctx context.Context, method, path, query string, body, v any) error {
	u := *e.base
	u.Path += path
	u.RawQuery = query
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("asking the debug page: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("asking the debug page: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := e.client.Do(r)
	if err != nil {
		var in *url.Error // which says the address again
		if errors.As(err, &in) {
			err = in.Err
		}
		return &EndpointError{e.base.String(), "it does not answer: " + err.Error(), "", err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return &EndpointError{e.base.String(), "its answer could not be read: " + err.Error(), "", err}
	}
	if answer.StatusCode != http.StatusOK {
		reason := fmt.Sprintf("it answers %d", answer.StatusCode)
		if said := printable(string(text)); said != "" {
			reason += ": " + said
		}
		return &EndpointError{URL: e.base.String(), Reason: reason}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return &EndpointError{e.base.String(), "what answers there is no debug page of Heapwright's", "", err}
	}
	return nil
}

// printable is the first line of what somebody else says, without what a terminal
// would act on.
func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
}

// prove asks the endpoint which process it is in, and refuses another than the one
// that is to be changed.
func (e *endpoint) prove(ctx context.Context, pid int, startTicks uint64) error {
	var d struct {
		Schema  string
		Process struct {
			PID        int     `json:"pid"`
			StartTicks *uint64 `json:"start_ticks"`
		}
		Change struct{ Allowed bool }
	}
	if err := e.call(ctx, http.MethodGet, "", "format=json", nil, &d); err != nil {
		return err
	}
	bad := func(advice, format string, args ...any) error {
		return &EndpointError{e.base.String(), fmt.Sprintf(format, args...), advice, nil}
	}
	pids, err := pidsOf(pid)
	switch {
	case err != nil:
		return err
	case d.Schema != debugzSchema:
		return bad("", "what answers there has the schema %.40q, not %q", d.Schema, debugzSchema)
	case d.Process.StartTicks == nil || *d.Process.StartTicks != startTicks || !slices.Contains(pids, d.Process.PID):
		return bad("give the address of the debug port of that process", "it belongs to process %d, not to %d", d.Process.PID, pid)
	case !d.Change.Allowed:
		return bad("the program allows it with debugz.Options{Limit: ..., AllowChange: true}", "it does not allow changes")
	}
	return nil
}

// pidsOf are the numbers that a process has, in our PID namespace and in those below
// that it is in.
func pidsOf(pid int) ([]int, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil, fmt.Errorf("reading the numbers of process %d: %w", pid, err)
	}
	all := []int{pid}
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			for _, f := range strings.Fields(numbers) {
				if n, err := strconv.Atoi(f); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all, nil
}

// override asks for settings for the time of a lease.
func (e *endpoint) override(ctx context.Context, p settingPair, lease time.Duration, by string) error {
	var a struct{ Schema string }
	err := e.call(ctx, http.MethodPost, "override", "", struct {
		settingPair
		Lease float64 `json:"lease_seconds"`
		By    string  `json:"by"`
	}{p, lease.Seconds(), by}, &a)
	if err == nil && a.Schema != overrideSchema {
		err = &EndpointError{URL: e.base.String(), Reason: "what answers there is no debug page of Heapwright's"}
	}
	return err
}

// release asks for an end of the override.
func (e *endpoint) release(ctx context.Context) error {
	var a struct{ Schema string }
	return e.call(ctx, http.MethodDelete, "override", "", nil, &a)
}

// A Via is one process that is changed through its own debug page, once. It is not
// for concurrent use. What it says of the process's settings is read from the
// process's memory, as a [Session] does.
type Via struct {
	host   Host
	pid    int
	target *remote.Target
	point  *endpoint
	sample record.Sample
	books  books
	hold   hold
	lease  *Lease // for the log; nil before Apply and at the end

	wanted  settingPair
	renewed time.Time
	brief   time.Duration // the lease; 0: viaLease
}

// OpenVia takes hold of a process that is to be changed through its own debug page,
// which is proven to be its own. Errors: *[EndpointError], and those of packages
// remote and procmem.
func (h Host) OpenVia(ctx context.Context, pid int, address string) (*Via, error) {
	point, err := openEndpoint(address)
	if err != nil {
		return nil, err
	}
	t, err := remote.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	v := &Via{host: h, pid: pid, target: t, point: point}
	if err = point.prove(ctx, pid, t.Process().StartTicks()); err == nil {
		v.books, err = readBooks(t, &v.sample)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return v, nil
}

// Notes say what to know before changing the process, in full sentences.
func (v *Via) Notes() []string {
	return []string{fmt.Sprintf("The program's own memlimit makes the change, asked through %s. It ends by itself within %.0f seconds if heapwright dies; if it is kept, after %.0f hours.", v.point.base, v.span().Seconds(), ViaKept.Hours())}
}

// Describe says what Apply would have changed. Errors: *[RangeError],
// *[StormFloorError], [ErrNothing], and those of package remote.
func (v *Via) Describe(c Change) ([]Step, error) {
	b, err := readBooks(v.target, &v.sample)
	if err != nil {
		return nil, err
	}
	v.books = b
	if c.GOGCPercent != nil && *c.GOGCPercent < 1 {
		return nil, &RangeError{"GOGC", *c.GOGCPercent, "memlimit takes 1 to 100000"}
	}
	if err := b.check(c); err != nil {
		return nil, err
	}
	return v.steps(b, want(b, c))
}

// want is what is asked for: both settings, so that memlimit moves neither meanwhile.
func want(b books, c Change) settingPair {
	p := settingPair{int64(b.percent), b.limit}
	if c.GOGCPercent != nil {
		p.GOGC = *c.GOGCPercent
	}
	if c.GOMEMLIMITBytes != nil {
		p.GOMEMLIMIT = *c.GOMEMLIMITBytes
	}
	return p
}

// steps are the words that differ between what is there and what is wanted.
func (v *Via) steps(from books, to settingPair) ([]Step, error) {
	var steps []Step
	for _, p := range []pair{
		{remote.WordGCPercent, uint64(uint32(from.percent)), uint64(uint32(int32(to.GOGC)))},
		{remote.WordMemoryLimit, uint64(from.limit), uint64(to.GOMEMLIMIT)},
	} {
		if p.old == p.value {
			continue
		}
		w, err := v.target.Word(p.symbol)
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{p.symbol, w.Addr, w.Size, p.old, p.value})
	}
	return steps, nil
}

// Apply has the change made, and reads it back. [Via.Close] takes it back unless
// [Via.Keep] was called; if this process dies, the lease ends.
func (v *Via) Apply(ctx context.Context, c Change, why string) (r Receipt, err error) {
	if v.lease != nil {
		return Receipt{}, ErrApplied
	}
	before := v.books
	if v.hold, err = takeHold(v.target.Process()); err != nil {
		if errors.Is(err, errHeld) {
			err = v.host.owned(v.pid, v.target.Process().StartTicks())
		}
		return Receipt{}, err
	}
	defer func() {
		if err != nil {
			v.hold.release()
			v.hold = hold{}
		}
	}()
	if err := v.point.prove(ctx, v.pid, v.target.Process().StartTicks()); err != nil {
		return Receipt{}, err
	}
	steps, err := v.Describe(c)
	if err != nil {
		return Receipt{}, err
	}
	if v.books.percent != before.percent || v.books.limit != before.limit {
		return Receipt{}, &ChangedError{[]string{"its settings"}}
	}
	boot, err := procmem.BootID()
	if err != nil {
		return Receipt{}, err
	}
	l := &Lease{BootID: boot, PID: v.pid, StartTicks: v.target.Process().StartTicks(), Words: steps, Why: why + ", through " + v.point.base.String()}
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(v.pid) + "/exe"); err == nil { // for the log only
		l.Exe = strings.TrimSuffix(exe, " (deleted)")
	}
	v.wanted = want(v.books, c)
	err = v.renew(ctx, v.span())
	if err == nil {
		err = v.inForce()
	}
	e := v.host.entry(l, ActionApply, steps, l.Why)
	if err != nil {
		e.Outcome = "failed: " + err.Error()
	}
	if err = errors.Join(err, v.host.log(&e)); err != nil {
		undo, stop := context.WithTimeout(context.WithoutCancel(ctx), viaTimeout)
		defer stop()
		return Receipt{}, errors.Join(err, v.point.release(undo))
	}
	v.lease = l
	return Receipt{Time: e.Time, PID: v.pid, Steps: steps, Notes: v.Notes()}, nil
}

// Amend changes again what [Via.Apply] has changed, and renews the lease; see
// [Session.Amend]. Programs take ten changes at once, and then one each two seconds.
func (v *Via) Amend(ctx context.Context, c Change, why string) (Receipt, error) {
	if v.lease == nil {
		return Receipt{}, ErrNotApplied
	}
	steps, err := v.Describe(c)
	if err != nil {
		return Receipt{}, err
	}
	if theirs := v.theirs(); len(theirs) > 0 {
		return Receipt{}, &ChangedError{theirs}
	}
	earlier := v.wanted
	v.wanted = want(v.books, c)
	if err := v.renew(ctx, v.span()); err != nil {
		v.wanted = earlier // a page that refuses has left it as it was
		return Receipt{}, err
	}
	err = v.inForce()
	e := v.host.entry(v.lease, ActionAmend, steps, why)
	if err != nil {
		e.Outcome = "failed: " + err.Error()
	}
	if err = errors.Join(err, v.host.log(&e)); err != nil {
		_, rerr := v.Revert(why + ": not all of it could be done")
		return Receipt{}, errors.Join(err, rerr)
	}
	return Receipt{Time: e.Time, PID: v.pid, Steps: steps, Notes: v.Notes()}, nil
}

// Brief makes the leases of a change that is not kept this long, where the usual two
// minutes are too long for it to stay if this process dies.
func (v *Via) Brief(lease time.Duration) { v.brief = lease }

// span is how long leases are while the change is watched.
func (v *Via) span() time.Duration {
	if v.brief > 0 {
		return v.brief
	}
	return viaLease
}

// Renew begins a new lease for a change that nobody watches with [Via.Watch].
func (v *Via) Renew(ctx context.Context) error {
	if v.lease == nil {
		return ErrNotApplied
	}
	return v.renew(ctx, v.span())
}

// renew begins a new lease.
func (v *Via) renew(ctx context.Context, lease time.Duration) error {
	by := "heapwright"
	if u := printable(v.host.User); u != "" {
		by += ", " + u[:min(len(u), 40)]
	}
	err := v.point.override(ctx, v.wanted, lease, strings.ToValidUTF8(by, ""))
	if err == nil {
		v.renewed = time.Now()
	}
	return err
}

// inForce reads back what was asked for.
func (v *Via) inForce() error {
	b, err := readBooks(v.target, &v.sample)
	if err != nil {
		return err
	}
	v.books = b
	if theirs := v.theirs(); len(theirs) > 0 {
		return &EndpointError{v.point.base.String(), fmt.Sprintf("it says that the settings are as asked for, but in the process %s is not", strings.Join(theirs, " and ")), "nothing of it can be relied on", nil}
	}
	return nil
}

// theirs are the settings, as last read, that are not what was asked for.
func (v *Via) theirs() (words []string) {
	if int64(v.books.percent) != v.wanted.GOGC {
		words = append(words, remote.WordGCPercent)
	}
	if v.books.limit != v.wanted.GOMEMLIMIT {
		words = append(words, remote.WordMemoryLimit)
	}
	return words
}

// EnableSampling is not for this way: memlimit has nothing to do with profiles.
func (v *Via) EnableSampling(context.Context, Sampling, int64) (Receipt, error) {
	return Receipt{}, errors.New("sampling cannot be switched on through a debug page: net/http/pprof serves profiles")
}

// Keep gives the change a long lease.
func (v *Via) Keep() error {
	if v.lease == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), viaTimeout)
	defer stop()
	if err := v.renew(ctx, ViaKept); err != nil {
		return err
	}
	e := v.host.entry(v.lease, ActionKeep, v.lease.Words, v.lease.Why)
	v.lease = nil
	return v.host.log(&e)
}

// Revert ends the change: memlimit goes on as before.
func (v *Via) Revert(why string) (Receipt, error) {
	if v.lease == nil {
		return Receipt{}, nil
	}
	l := v.lease
	r, err := v.end(l, ActionRevert, why)
	if err == nil || gone(err) {
		v.lease = nil
	}
	return r, err
}

// end has the override ended, logs it, and says what is set then.
func (v *Via) end(l *Lease, action Action, why string) (Receipt, error) {
	ctx, stop := context.WithTimeout(context.Background(), viaTimeout)
	defer stop()
	before, err := readBooks(v.target, &v.sample)
	if err == nil {
		if err = v.point.release(ctx); err != nil {
			if gone := v.target.Alive(); gone != nil {
				err = gone
			}
		}
	}
	var steps []Step
	if err == nil {
		if v.books, err = readBooks(v.target, &v.sample); err == nil {
			steps, err = v.steps(before, settingPair{int64(v.books.percent), v.books.limit})
		}
	}
	e := v.host.entry(l, action, steps, why)
	if err != nil {
		e.Outcome = "failed: " + err.Error()
	}
	r := Receipt{Time: e.Time, PID: v.pid, Steps: steps}
	if err != nil && !gone(err) {
		r.Notes = []string{"The change ends by itself with its lease."}
	}
	return r, errors.Join(err, v.host.log(&e))
}

// Close reverts a change that was not kept, and lets go of the process.
func (v *Via) Close() error {
	_, err := v.Revert("the tool ended")
	if gone(err) {
		err = nil
	}
	v.hold.release()
	v.hold = hold{}
	return errors.Join(err, v.target.Close())
}

// Watch is [Watch], for a change that was made through a debug page.
func (v *Via) Watch(ctx context.Context, e Expectation, tick func(Status)) (Outcome, error) {
	if v.lease == nil {
		return Outcome{}, errors.New("watching: nothing was changed")
	}
	w := &watchedVia{Via: v}
	stat, err := goproc.OpenStat(v.pid, record.Process{PID: v.pid})
	switch {
	case gone(err):
	case err != nil:
		return Outcome{}, fmt.Errorf("watching: %w", err)
	default:
		defer stat.Close()
		w.stat = stat
	}
	return watch(ctx, w, e, tick)
}

// watchedVia is a Via that is watched.
type watchedVia struct {
	*Via
	stat *goproc.Stat // nil when the process has ended already
}

// guarded is what the lease is for.
func (w *watchedVia) guarded() bool                        { return true }
func (w *watchedVia) takeBack(why string) (Receipt, error) { return w.Revert(why) }

func (w *watchedVia) observe() (Observation, error) {
	// A renewal that fails is tried again at the next look, until the lease is over
	// and the settings are not what was asked for any more.
	if time.Since(w.renewed) >= w.span()/2 {
		ctx, stop := context.WithTimeout(context.Background(), viaTimeout)
		err := w.renew(ctx, w.span())
		stop()
		if alive := w.target.Alive(); gone(alive) {
			return Observation{Time: time.Now(), Gone: true}, nil
		}
		if err != nil && time.Since(w.renewed) < w.span() {
			return Observation{}, err
		}
	}
	b, o, err := observe(w.target, &w.sample, w.stat)
	if o.Gone || err != nil {
		return o, err
	}
	w.books = b
	o.Theirs = w.theirs()
	return o, nil
}

// UndoVia ends what was changed, and kept, through a program's debug page.
func (h Host) UndoVia(ctx context.Context, pid int, address string) (Receipt, error) {
	v, err := h.OpenVia(ctx, pid, address)
	if err != nil {
		return Receipt{}, err
	}
	defer v.Close()
	boot, err := procmem.BootID()
	if err != nil {
		return Receipt{}, err
	}
	l := &Lease{BootID: boot, PID: pid, StartTicks: v.target.Process().StartTicks()}
	return v.end(l, ActionUndo, "undo, through "+v.point.base.String())
}
