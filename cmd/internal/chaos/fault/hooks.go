package fault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A fault inside a service is made by the service itself, which has package guard/fault
// and lets its debug page be asked for it. Its lease is short and renewed from here: it
// ends by itself when we do.
const (
	// StepHook: a fault inside the process PID was asked for at the page Data["debug"],
	// by Data["by"].
	StepHook = "hook"

	hookLease, hookRenew = 2 * time.Second, 500 * time.Millisecond
	// hookTries is how often a level is asked for that gets no answer.
	hookTries = 3
)

// A LostError says that a service has ended a fault, since no renewal of its lease came
// through in time.
type LostError struct{ Err error }

func (e *LostError) Error() string {
	return fmt.Sprintf("the service has ended the fault by itself: no renewal came through for %v", hookLease)
}

func (e *LostError) Unwrap() error { return e.Err }

// Hint is what a user can do about it.
func (e *LostError) Hint() string {
	return "its debug page does not answer while the fault lasts: set a lower level, or serve the page from a listener of its own"
}

// hookCost is what memory and how many goroutines a level takes inside, as far as that
// follows from the level. Size is what the plan says, 0 for what the service chooses.
func hookCost(k chaos.Kind, level float64, size float64) (bytes, goroutines float64) {
	const goroutine = 4 << 10
	switch k {
	case chaos.Retain, chaos.Pointers, chaos.Large, chaos.Fragments, chaos.OffHeap:
		return level, 0
	case chaos.Stacks:
		if size == 0 {
			size = 64 << 10
		}
		return level, level / size
	case chaos.Goroutines:
		return level * goroutine, level
	}
	return 0, 0
}

func resolveHook(ctx context.Context, f chaos.Fault, t *Target, caps chaos.Caps, room Room) (*Resolved, error) {
	if t.Debug == "" {
		return nil, &RefusedError{Why: string(f.Kind) + " is made inside of the service, and its debug page is not known", hint: "target: debug: the address of its debug page, such as http://127.0.0.1:6060" + pagePath}
	}
	p, err := openPage(t.Debug)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.prove(ctx, t); err != nil {
		return nil, err
	}
	s, err := p.hooks(ctx, pageSlow, http.MethodGet, "faults", nil)
	var answer *PageError
	switch {
	case errors.As(err, &answer) && (answer.Status == http.StatusForbidden || answer.Status == http.StatusNotFound || answer.Status == http.StatusOK):
		return nil, &RefusedError{Why: "the service has no fault hooks", Err: err, hint: hooksHint}
	case err != nil:
		return nil, refusedBy("the fault hooks of the service cannot be asked", err)
	case len(s.Active) > 0:
		return nil, &RefusedError{Why: fmt.Sprintf("a fault of %q is injected into the service already", printable(s.Active[0].By)), hint: "it ends with its lease; wait for that"}
	case s.MaxLease < hookLease.Seconds():
		return nil, &RefusedError{Why: fmt.Sprintf("the service grants leases of at most %g seconds", s.MaxLease), hint: fmt.Sprintf("fault.Options.MaxLease: at least %v", hookLease)}
	}
	var m memory
	if t.Memory.Path != "" {
		if m, err = t.Memory.look(); err != nil {
			return nil, refusedBy("what memory there is cannot be seen", err)
		}
	}
	r, err := hookRange(f, m)
	if err != nil {
		return nil, err
	}
	bytes, herd := hookCost(f.Kind, max(r.From, r.Level), float64(f.Size))
	switch {
	case s.Held+s.Returning+bytes > s.MaxBytes:
		return nil, &RefusedError{Why: fmt.Sprintf("it would hold %s inside, and the service allows %s", sizeText(bytes), sizeText(s.MaxBytes)), hint: "lower the level, or raise fault.Options.MaxBytes in the service"}
	case s.Goroutines+herd > s.MaxGoroutines:
		return nil, &RefusedError{Why: fmt.Sprintf("it would have %.0f goroutines inside, and the service allows %.0f", herd, s.MaxGoroutines), hint: "lower the level, or raise fault.Options.MaxGoroutines in the service"}
	case m.limited && bytes > float64(m.room) && !f.AllowKill:
		return nil, &RefusedError{Why: fmt.Sprintf("it would hold %s inside, and %s are left to its cgroup: the kernel would kill the service", sizeText(bytes), sizeText(float64(m.room))), hint: "lower the level, or say allow_kill: true if that is what is to be seen"}
	}
	if bytes > 0 {
		if !m.limited && caps.Memory == 0 {
			caps.Memory = experiment.Bytes(s.MaxBytes) // the service's own bound
		}
		if err := fits(bytes, m, caps, room); err != nil {
			return nil, err
		}
	}
	info, _ := f.Kind.Info()
	most := ""
	if f.Count > 0 {
		most = fmt.Sprintf(", %d in all", f.Count)
	}
	r.Words = append(r.Words,
		fmt.Sprintf("%s: %s%s, asked for at %s", info.What, levelText(r.Level, info.Unit), most, p.base),
		fmt.Sprintf("the service itself ends it when no renewal comes for %v", hookLease))
	return r, nil
}

// levelText is a level as people read it.
func levelText(v float64, u chaos.Unit) string {
	switch u {
	case chaos.Bytes:
		return sizeText(v)
	case chaos.BytesPerSecond:
		return sizeText(v) + " a second"
	case chaos.CountPerSecond:
		return countText(v) + " a second"
	}
	return countText(v)
}

// countText is a number with two decimals at most, and without an exponent.
func countText(v float64) string {
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

// hookRange says from which level to which it goes.
func hookRange(f chaos.Fault, m memory) (*Resolved, error) {
	r := &Resolved{Fault: f}
	whole := 0.0
	if m.limited {
		whole = float64(m.room)
	}
	var err error
	if r.From, err = absolute(f.From, whole, "headroom"); err != nil {
		return nil, err
	}
	if r.Level, err = absolute(f.Level, whole, "headroom"); err != nil {
		return nil, err
	}
	if f.Every > 0 {
		if f.Kind != chaos.ForcedGC || r.Level != 0 {
			return nil, &RefusedError{Why: "every is for gc.forced, instead of a level", hint: "leave one of the two out"}
		}
		r.Level = 1 / f.Every.Seconds()
	}
	if r.Level == 0 {
		return nil, &RefusedError{Why: "a level of nothing is no fault", hint: "give a level"}
	}
	return r, nil
}

// A hook is the effect of a fault inside a service.
type hook struct {
	kind    chaos.Kind
	size    uint64
	count   uint64 // of collections; 0 is no bound
	by      string // who asks: one of a kind, so that what is ours can be told
	page    *page
	target  *Target
	journal Journal
	step    Step
	gauge   *gauge
	gate    *gate
	ctx     context.Context // of the renewals
	stop    context.CancelFunc
	renew   sync.WaitGroup

	mu     sync.Mutex
	asked  bool   // a start was sent
	id     string // "" before it was answered
	lost   error
	undone bool
}

func makeHook(ctx context.Context, r *Resolved, t *Target, j Journal) (Effect, error) {
	p, err := openPage(t.Debug)
	if err != nil {
		return nil, err
	}
	if err := p.prove(ctx, t); err != nil {
		p.close()
		return nil, err
	}
	g, err := openGauge(ctx, r.Kind, t)
	if err != nil {
		p.close()
		return nil, err
	}
	h := &hook{kind: r.Kind, size: uint64(r.Size), count: uint64(max(r.Count, 0)), by: "heapwright stress " + rand.Text()[:12], page: p, target: t, journal: j, gauge: g, gate: newGate()}
	h.step = Step{ID: nextStep(), Kind: StepHook, PID: t.PID, Start: t.Start, Data: map[string]string{"debug": t.Debug, "by": h.by}}
	h.ctx, h.stop = context.WithCancel(ctx)
	return h, nil
}

// A hookOrder is what is sent to start or change a fault.
type hookOrder struct {
	ID    string     `json:"id,omitempty"`
	Kind  chaos.Kind `json:"kind,omitempty"`
	Level *float64   `json:"level,omitempty"`
	Size  uint64     `json:"size_bytes,omitempty"`
	Count uint64     `json:"count,omitempty"`
	Lease float64    `json:"lease_seconds"`
	By    string     `json:"by,omitempty"`
}

// Set asks for a level, and renews the lease from then on. A page that does not answer
// in time is asked again, a few times. Errors: *[LostError], *[PageError].
func (h *hook) Set(ctx context.Context, level float64) error {
	ctx, leave, err := h.gate.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for range hookTries {
		if err = h.set(ctx, level); !silent(err) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("setting the fault inside: %w", err)
	}
	h.gauge.set(level)
	return nil
}

// silent reports whether a page did not answer: what was asked for may have been done.
func silent(err error) bool {
	var page *PageError
	return errors.As(err, &page) && page.Status == 0
}

func (h *hook) set(ctx context.Context, level float64) error {
	h.mu.Lock()
	id, lost, asked := h.id, h.lost, h.asked
	h.mu.Unlock()
	if lost != nil {
		return lost
	}
	if id == "" && asked {
		var err error
		if id, err = h.find(ctx); err != nil {
			return err
		}
	}
	order := hookOrder{ID: id, Level: &level, Lease: hookLease.Seconds()}
	if id == "" {
		order = hookOrder{Kind: h.kind, Level: &level, Size: h.size, Count: h.count, Lease: hookLease.Seconds(), By: h.by}
		if !asked {
			if err := h.journal.Will(h.step); err != nil {
				return err
			}
			h.mu.Lock()
			h.asked = true
			h.mu.Unlock()
		}
	}
	s, err := h.page.hooks(ctx, pageTimeout, http.MethodPost, "faults", order)
	if err == nil && (s.Fault == nil || s.Fault.Kind != string(h.kind) || id != "" && s.Fault.ID != id) {
		err = &PageError{URL: h.page.base.String(), Status: http.StatusOK, Why: "it answers about another fault than was asked for"}
	}
	if err != nil {
		return h.failed(id, err)
	}
	h.mu.Lock()
	first := h.id == ""
	h.id = s.Fault.ID
	h.mu.Unlock()
	if first {
		h.renew.Go(h.keepRenewing)
	}
	return nil
}

// find is the ID of a fault that was asked for without an answer; "" when there is none.
func (h *hook) find(ctx context.Context) (string, error) {
	s, err := h.page.hooks(ctx, pageTimeout, http.MethodGet, "faults", nil)
	if err != nil {
		return "", err
	}
	for _, f := range s.Active {
		if f.By == h.by {
			return f.ID, nil
		}
	}
	return "", nil
}

// failed notes that a fault is no more.
func (h *hook) failed(id string, err error) error {
	var answer *PageError
	if id == "" || !errors.As(err, &answer) || answer.Status != http.StatusNotFound {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = &LostError{err}
	return h.lost
}

// keepRenewing renews the lease until the fault is undone or the context ends.
func (h *hook) keepRenewing() {
	t := time.NewTicker(hookRenew)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.gate.over:
			return
		case <-t.C:
		}
		h.mu.Lock()
		id, lost := h.id, h.lost
		h.mu.Unlock()
		if lost != nil {
			return
		}
		// One that gets no answer is sent again, until the lease is over.
		_, err := h.page.hooks(h.ctx, pageTimeout, http.MethodPost, "faults", hookOrder{ID: id, Lease: hookLease.Seconds()})
		if err != nil {
			_ = h.failed(id, err)
		}
	}
}

// Measure is what of it can be seen in the memory of the process, and not what the
// service says of it.
func (h *hook) Measure() (float64, string, bool) {
	if forced, level, ok := h.counted(); ok {
		return level, fmt.Sprintf("%d forced collections in the runtime's books, and %d were to be", forced, h.count), true
	}
	return h.gauge.read()
}

// Over reports whether all that was to be was seen.
func (h *hook) Over() bool {
	_, _, ok := h.counted()
	return ok
}

// counted is how many collections were forced of a number that was asked for, and at
// what rate they were asked for; false while there are fewer.
func (h *hook) counted() (forced uint64, level float64, ok bool) {
	if h.count == 0 {
		return 0, 0, false
	}
	forced, level = h.gauge.forced()
	return forced, level, forced >= h.count
}

// Undo has the service end the fault, and looks that it has.
func (h *hook) Undo(ctx context.Context) error {
	h.gate.close()
	h.stop()
	leave, ok := h.gate.wait(ctx, 2*pageTimeout)
	if !ok {
		return errors.New("undoing the fault inside: a level is still being set")
	}
	defer leave()
	h.renew.Wait()
	h.mu.Lock()
	asked, undone := h.asked, h.undone
	h.mu.Unlock()
	if undone {
		return nil
	}
	if asked {
		if err := endHook(ctx, h.page, h.target.PID, h.target.Start, h.by); err != nil {
			return fmt.Errorf("undoing the fault inside: %w; it ends by itself within %v", err, hookLease)
		}
		if err := h.journal.Undone(h.step); err != nil {
			return err
		}
	}
	h.mu.Lock()
	h.undone = true
	h.mu.Unlock()
	h.page.close()
	h.gauge.close()
	return nil
}

// Contained: it is inside the process.
func (h *hook) Contained() bool { return true }

// endHook ends what a name asked for, until nothing of it is left. A start that was
// never answered may have been carried out.
func endHook(ctx context.Context, p *page, pid int, start uint64, by string) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, pageTimeout) {
		err := endHooks(ctx, p, by)
		if err == nil || !running("", pid, start) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func endHooks(ctx context.Context, p *page, by string) error {
	s, err := p.hooks(ctx, pageTimeout, http.MethodGet, "faults", nil)
	if err != nil {
		return err
	}
	for _, f := range s.Active {
		if f.By != by {
			continue
		}
		s, err = p.hooks(ctx, pageSlow, http.MethodDelete, "faults/"+f.ID, nil)
		var answer *PageError
		if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
			s, err = p.hooks(ctx, pageTimeout, http.MethodGet, "faults", nil)
		}
		if err != nil {
			return err
		}
	}
	for _, f := range s.Active {
		if f.By == by {
			return &PageError{URL: p.base.String(), Status: http.StatusOK, Why: "the fault is still there after it was ended: " + printable(f.Ending)}
		}
	}
	return nil
}

// revertHook ends a fault inside for a process that died. Mostly its lease has.
func revertHook(ctx context.Context, s Step) error {
	if !running("", s.PID, s.Start) {
		return nil
	}
	by := s.Data["by"]
	if !strings.HasPrefix(by, "heapwright stress ") {
		return errors.New("the step does not say what was asked for")
	}
	p, err := openPage(s.Data["debug"])
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.prove(ctx, &Target{PID: s.PID, Start: s.Start}); err != nil {
		return err
	}
	return endHook(ctx, p, s.PID, s.Start, by)
}
