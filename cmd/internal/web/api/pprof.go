package api

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// A file is an answer that is no document.
type file struct {
	name   string // to save it under; "" to show it
	kind   string
	policy string // what a page may do; "" for what all may
	text   []byte
}

// write sends a file.
func (f *file) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	if f.name != "" {
		h.Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	}
	if f.policy != "" {
		h.Set("Content-Security-Policy", f.policy)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(f.text)
}

// pprofFile is a profile of a snapshot for go tool pprof.
func pprofFile(rec *record.Recording, t *profileType, process, key string) (*file, error) {
	b := &pprofBuilder{p: &pprof.Profile{}, functions: map[record.Frame]*pprof.Function{}, locations: map[record.Frame]*pprof.Location{}}
	if t.kind == "" {
		b.goroutines(lastGoroutines(rec))
	} else {
		b.sites(lastProfile(rec, t.kind), t)
	}
	if err := b.p.CheckValid(); err != nil {
		return nil, fmt.Errorf("building the pprof file: %w", err)
	}
	var out bytes.Buffer
	if err := b.p.Write(&out); err != nil {
		return nil, fmt.Errorf("writing the pprof file: %w", err)
	}
	return &file{name: fileName(process, key, t.name, "pb.gz"), kind: "application/octet-stream", text: out.Bytes()}, nil
}

// A pprofBuilder makes a pprof profile of frames that have names and no addresses.
type pprofBuilder struct {
	p         *pprof.Profile
	functions map[record.Frame]*pprof.Function // by name and file
	locations map[record.Frame]*pprof.Location
}

func (b *pprofBuilder) goroutines(g *record.Goroutines) {
	b.p.TimeNanos = g.Time.UnixNano()
	b.p.PeriodType, b.p.Period = &pprof.ValueType{Type: "goroutine", Unit: "count"}, 1
	b.p.SampleType = []*pprof.ValueType{{Type: "goroutine", Unit: "count"}}
	for i := range g.Groups {
		gr := &g.Groups[i]
		if gr.System || gr.Count <= 0 {
			continue
		}
		s := &pprof.Sample{Value: []int64{int64(gr.Count)}, Label: map[string][]string{"status": {cut(gr.Status)}}}
		if gr.WaitReason != "" {
			s.Label["wait_reason"] = []string{cut(gr.WaitReason)}
		}
		if gr.CreatedBy.Func != "" {
			s.Label["created_by"] = []string{cut(gr.CreatedBy.Func)}
		}
		for _, k := range slices.Sorted(maps.Keys(gr.Labels)) {
			s.Label[cut(k)] = append([]string{cut(gr.Labels[k])}, s.Label[cut(k)]...)
		}
		b.add(s, goroutineFrames(gr))
	}
}

func (b *pprofBuilder) sites(p *record.Profile, t *profileType) {
	b.p.TimeNanos = p.Time.UnixNano()
	if p.Kind == record.ProfileHeap {
		b.p.PeriodType, b.p.Period = &pprof.ValueType{Type: "space", Unit: "bytes"}, max(p.PeriodBytes, 0)
		b.p.SampleType = []*pprof.ValueType{
			{Type: "alloc_objects", Unit: "count"}, {Type: "alloc_space", Unit: "bytes"},
			{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"},
		}
		b.p.DefaultSampleType = t.name
	} else {
		b.p.PeriodType, b.p.Period = &pprof.ValueType{Type: "contentions", Unit: "count"}, 1
		b.p.SampleType = []*pprof.ValueType{{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}}
	}
	for i := range p.Sites {
		s := &p.Sites[i]
		var values []int64
		if p.Kind == record.ProfileHeap {
			values = []int64{whole(s.AllocObjects), whole(s.AllocBytes), whole(s.InUseObjects), whole(s.InUseBytes)}
		} else {
			values = []int64{whole(s.Contentions), max(int64(s.Delay), 0)}
		}
		if slices.Max(values) > 0 {
			b.add(&pprof.Sample{Value: values}, s.Stack)
		}
	}
}

func whole(v float64) int64 { return int64(math.Round(counted(v))) }

func (b *pprofBuilder) add(s *pprof.Sample, frames []record.Frame) {
	for _, f := range frames[:min(len(frames), maxDepth)] {
		s.Location = append(s.Location, b.location(frame(f)))
	}
	b.p.Sample = append(b.p.Sample, s)
}

func (b *pprofBuilder) location(f record.Frame) *pprof.Location {
	if l, ok := b.locations[f]; ok {
		return l
	}
	at := record.Frame{Func: f.Func, File: f.File}
	fn, ok := b.functions[at]
	if !ok {
		name := f.Func
		if name == "" {
			name = "unknown function"
		}
		fn = &pprof.Function{ID: uint64(len(b.p.Function) + 1), Name: name, SystemName: name, Filename: f.File}
		b.functions[at] = fn
		b.p.Function = append(b.p.Function, fn)
	}
	l := &pprof.Location{ID: uint64(len(b.p.Location) + 1), Line: []pprof.Line{{Function: fn, Line: int64(f.Line)}}}
	b.locations[f] = l
	b.p.Location = append(b.p.Location, l)
	return l
}
