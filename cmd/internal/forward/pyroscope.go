package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	pprof "github.com/google/pprof/profile"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// Snapshots is what profiles are read from: package vault's Vault.
type Snapshots interface {
	// List returns the snapshots of a process, or of all for "", in the order of time.
	List(process string, from, to time.Time) []vault.Entry
	Get(process, key string) (*record.Recording, error)
}

const (
	// pushPath is that of the call of Pyroscope's API which takes profiles in pprof. It is
	// Connect: one protobuf message by HTTP POST.
	pushPath = "/push.v1.PusherService/Push"
	// snapshotLag is how old a snapshot is before it is sent: it has the time of what is in it,
	// and is stored when all of it was read.
	snapshotLag = time.Minute
	// snapshotPace is how often is looked for new ones.
	snapshotPace = 15 * time.Second
	// maxPast is how long before a snapshot the one may be from which allocations are
	// counted.
	maxPast = 24 * time.Hour
)

func pushHeader() http.Header {
	return http.Header{"Content-Type": {"application/proto"}, "Connect-Protocol-Version": {"1"}}
}

// profiles sends snapshots of processes.
type profiles struct {
	*worker
	snaps Snapshots
	host  string
}

func (p *profiles) run(ctx context.Context) {
	for {
		for _, e := range p.due() {
			if p.stopping() || p.send(ctx, e) != nil {
				return
			}
			p.passed(e)
		}
		p.mu.Lock()
		p.status.Until = time.Now().Add(-snapshotLag) // there was nothing else
		p.mu.Unlock()
		if p.rest(ctx, snapshotPace) != nil {
			return
		}
	}
}

// due are the snapshots that are to be sent.
func (p *profiles) due() []vault.Entry {
	now := time.Now()
	if p.cursor.Until.After(now.Add(maxFuture)) {
		p.log.Warn("the clock was set back: sending goes on from now", "cursor", p.cursor.Until)
		p.cursor.Sent = nil
		p.advance(now, true)
	}
	all := p.snaps.List("", p.cursor.Until, now.Add(-snapshotLag))
	return slices.DeleteFunc(all, func(e vault.Entry) bool { return slices.Contains(p.cursor.Sent, id(e)) })
}

func id(e vault.Entry) string { return e.Process + "/" + e.Key }

// passed moves the cursor behind a snapshot. Others may have its very instant.
func (p *profiles) passed(e vault.Entry) {
	if e.Time.After(p.cursor.Until) {
		p.cursor.Sent = nil
	}
	p.cursor.Sent = append(p.cursor.Sent, id(e))
	p.advance(e.Time, true)
}

// send sends the profiles of a snapshot. The error is that of the end: what cannot be
// read is left out.
func (p *profiles) send(ctx context.Context, e vault.Entry) error {
	rec, err := p.snaps.Get(e.Process, e.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was thinned out
	}
	if err != nil {
		p.drop(1, clean([]byte(err.Error())))
		return nil
	}
	body, n, err := push(e.Process, p.host, rec, p.before(e, rec))
	if err != nil {
		p.drop(1, clean([]byte(err.Error())))
		return nil
	}
	if n == 0 {
		return nil
	}
	v, a, err := p.deliver(ctx, body, n)
	if err == nil && v != taken {
		p.drop(n, a.err.Error())
	}
	return err
}

// before returns the last snapshot before another that is of the same life of the
// process, or nil.
func (p *profiles) before(e vault.Entry, rec *record.Recording) *record.Recording {
	if len(rec.Profiles) == 0 {
		return nil
	}
	past := p.snaps.List(e.Process, e.Time.Add(-maxPast), e.Time)
	for i := len(past) - 1; i >= 0; i-- {
		x := past[i]
		if !x.Time.Before(e.Time) || !slices.ContainsFunc(x.Kinds, func(k string) bool { return k != "goroutines" }) {
			continue
		}
		old, err := p.snaps.Get(x.Process, x.Key)
		if err != nil || old.Process.PID != rec.Process.PID || !old.Process.StartTime.Equal(rec.Process.StartTime) {
			return nil
		}
		return old
	}
	return nil
}

// push writes the message for one snapshot: a series for each of its profiles, of which
// there are n. What counts since the start of the process, as allocations do, is sent as
// the growth since the snapshot before, and left out where there is none.
func push(process, host string, rec, before *record.Recording) (body []byte, n int, err error) {
	add := func(name string, pr *pprof.Profile) {
		if pr == nil || err != nil {
			return
		}
		var raw bytes.Buffer
		if err = pr.Write(&raw); err != nil {
			return
		}
		var msg []byte
		for _, l := range [][2]string{
			{"__name__", name},
			{"__delta__", "false"}, // the server is not to take differences again
			{"service_name", severalForm.ReplaceAllString(process, "")},
			{"process", process},
			{"pid", fmt.Sprint(rec.Process.PID)},
			{"service_git_ref", rec.Process.BuildSettings["vcs.revision"]},
			{"service_version", rec.Process.ModuleVersion},
			{"hostname", host},
		} {
			if l[1] == "" {
				continue
			}
			var pair []byte
			pair = protowire.AppendTag(pair, 1, protowire.BytesType)
			pair = protowire.AppendString(pair, l[0])
			pair = protowire.AppendTag(pair, 2, protowire.BytesType)
			pair = protowire.AppendString(pair, strings.ToValidUTF8(l[1], "?"))
			msg = protowire.AppendTag(msg, 1, protowire.BytesType)
			msg = protowire.AppendBytes(msg, pair)
		}
		var sample []byte
		sample = protowire.AppendTag(sample, 1, protowire.BytesType)
		sample = protowire.AppendBytes(sample, raw.Bytes())
		msg = protowire.AppendTag(msg, 2, protowire.BytesType)
		msg = protowire.AppendBytes(msg, sample)
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, msg)
		n++
	}
	if len(rec.Goroutines) > 0 {
		add("goroutine", goroutineProfile(&rec.Goroutines[len(rec.Goroutines)-1]))
	}
	for _, kind := range []record.ProfileKind{record.ProfileHeap, record.ProfileBlock, record.ProfileMutex} {
		now := latest(rec, kind)
		if now == nil {
			continue
		}
		old := latest(before, kind)
		if kind == record.ProfileHeap {
			add("memory", heapProfile(now, old))
		} else if old != nil {
			add(string(kind), contentionProfile(now, old))
		}
	}
	return body, n, err
}

func latest(rec *record.Recording, kind record.ProfileKind) *record.Profile {
	if rec == nil {
		return nil
	}
	for i := len(rec.Profiles) - 1; i >= 0; i-- {
		if rec.Profiles[i].Kind == kind {
			return &rec.Profiles[i]
		}
	}
	return nil
}

// goroutineProfile has how many goroutines are where, with their state as labels.
func goroutineProfile(g *record.Goroutines) *pprof.Profile {
	b := newStacks(g.Time, 0, &pprof.ValueType{Type: "goroutine", Unit: "count"})
	b.PeriodType, b.Period = b.SampleType[0], 1
	for i := range g.Groups {
		gr := &g.Groups[i]
		if gr.System || len(gr.Stack) == 0 || gr.Count <= 0 {
			continue
		}
		b.add(gr.Stack, []int64{int64(gr.Count)}, map[string][]string{"status": {gr.Status}, "wait_reason": {gr.WaitReason}})
	}
	return b.profile()
}

// heapProfile has what is in use, and what was allocated since another profile.
func heapProfile(now, old *record.Profile) *pprof.Profile {
	types := []*pprof.ValueType{{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}}
	if old != nil {
		types = append([]*pprof.ValueType{{Type: "alloc_objects", Unit: "count"}, {Type: "alloc_space", Unit: "bytes"}}, types...)
	}
	b := newStacks(now.Time, since(now, old), types...)
	b.PeriodType, b.Period = &pprof.ValueType{Type: "space", Unit: "bytes"}, now.PeriodBytes
	was, _ := sites(old)
	is, order := sites(now)
	for _, key := range order {
		s := is[key]
		values := []int64{int64(s.InUseObjects), int64(s.InUseBytes)}
		if o := was[key]; old != nil {
			values = append([]int64{growth(s.AllocObjects, o.AllocObjects), growth(s.AllocBytes, o.AllocBytes)}, values...)
		}
		b.add(s.Stack, values, nil)
	}
	return b.profile()
}

// contentionProfile has what was waited for locks since another profile.
func contentionProfile(now, old *record.Profile) *pprof.Profile {
	b := newStacks(now.Time, since(now, old), &pprof.ValueType{Type: "contentions", Unit: "count"}, &pprof.ValueType{Type: "delay", Unit: "nanoseconds"})
	b.PeriodType, b.Period = b.SampleType[0], 1
	was, _ := sites(old)
	is, order := sites(now)
	for _, key := range order {
		s, o := is[key], was[key]
		b.add(s.Stack, []int64{growth(s.Contentions, o.Contentions), growth(float64(s.Delay), float64(o.Delay))}, nil)
	}
	return b.profile()
}

func since(now, old *record.Profile) time.Duration {
	if old == nil {
		return 0
	}
	return max(now.Time.Sub(old.Time), 0)
}

func growth(now, before float64) int64 { return int64(max(now-before, 0)) }

// sites are those of a profile by their stacks, and those in order. The runtime keeps a
// bucket for each size of object, so several may have one stack.
func sites(p *record.Profile) (map[string]record.ProfileSite, []string) {
	if p == nil {
		return nil, nil
	}
	m := make(map[string]record.ProfileSite, len(p.Sites))
	var order []string
	for _, s := range p.Sites {
		k := stackKey(s.Stack)
		o, found := m[k]
		if !found {
			order = append(order, k)
		}
		s.AllocBytes += o.AllocBytes
		s.AllocObjects += o.AllocObjects
		s.InUseBytes += o.InUseBytes
		s.InUseObjects += o.InUseObjects
		s.Contentions += o.Contentions
		s.Delay += o.Delay
		m[k] = s
	}
	return m, order
}

func stackKey(stack []record.Frame) string {
	var b strings.Builder
	for _, f := range stack {
		fmt.Fprintf(&b, "%s\xff%s\xff%d\xfe", f.Func, f.File, f.Line)
	}
	return b.String()
}

// stacks builds a pprof profile from stacks of names.
type stacks struct {
	*pprof.Profile
	functions map[[2]string]*pprof.Function
	locations map[record.Frame]*pprof.Location
}

func newStacks(at time.Time, took time.Duration, types ...*pprof.ValueType) *stacks {
	return &stacks{
		Profile:   &pprof.Profile{SampleType: types, TimeNanos: at.UnixNano(), DurationNanos: int64(took)},
		functions: map[[2]string]*pprof.Function{}, locations: map[record.Frame]*pprof.Location{},
	}
}

// add adds a sample, unless all its values are zero.
func (b *stacks) add(stack []record.Frame, values []int64, labels map[string][]string) {
	if !slices.ContainsFunc(values, func(v int64) bool { return v != 0 }) {
		return
	}
	s := &pprof.Sample{Value: values}
	for k, v := range labels {
		if v[0] != "" {
			if s.Label == nil {
				s.Label = map[string][]string{}
			}
			s.Label[k] = v
		}
	}
	for _, f := range stack {
		s.Location = append(s.Location, b.location(f))
	}
	b.Sample = append(b.Sample, s)
}

func (b *stacks) location(f record.Frame) *pprof.Location {
	l := b.locations[f]
	if l == nil {
		fn := b.functions[[2]string{f.Func, f.File}]
		if fn == nil {
			fn = &pprof.Function{ID: uint64(len(b.Function) + 1), Name: f.Func, SystemName: f.Func, Filename: f.File}
			b.functions[[2]string{f.Func, f.File}] = fn
			b.Function = append(b.Function, fn)
		}
		l = &pprof.Location{ID: uint64(len(b.Location) + 1), Line: []pprof.Line{{Function: fn, Line: int64(f.Line)}}}
		b.locations[f] = l
		b.Location = append(b.Location, l)
	}
	return l
}

// profile returns the profile, or nil when nothing is in it.
func (b *stacks) profile() *pprof.Profile {
	if len(b.Sample) == 0 {
		return nil
	}
	return b.Profile
}
