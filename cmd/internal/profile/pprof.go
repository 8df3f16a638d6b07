package profile

import (
	"fmt"
	"io"
	"strings"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/record"
)

// A Mapping is a part of the target's address space that holds code.
type Mapping struct {
	Start, Limit uint64
	Offset       uint64 // of Start in the file
	File         string
	BuildID      string
}

// WriteOptions is what a pprof file says besides the values.
type WriteOptions struct {
	// Mappings are the target's executable mappings. The first is the program.
	Mappings []Mapping
	// Allocs makes a heap profile show allocations by default, as the allocs
	// profile of net/http/pprof does.
	Allocs bool
}

// WritePprof writes the snapshot as a gzip-compressed pprof file: what the
// target's own goroutine profile would hold, without the runtime's goroutines,
// with the state of each goroutine as the labels status and wait_reason, and
// created_by, the function with the go statement.
func (g *Goroutines) WritePprof(w io.Writer, opts WriteOptions) error {
	b := newBuilder(opts)
	b.p.TimeNanos = g.Time.UnixNano()
	b.p.PeriodType = &pprof.ValueType{Type: "goroutine", Unit: "count"}
	b.p.Period = 1
	b.p.SampleType = []*pprof.ValueType{{Type: "goroutine", Unit: "count"}}
	for i := range g.Groups {
		e := &g.Groups[i]
		if e.System {
			continue
		}
		s := &pprof.Sample{Value: []int64{int64(e.Count)}, Label: map[string][]string{"status": {e.Status}}}
		if e.WaitReason != "" {
			s.Label["wait_reason"] = []string{e.WaitReason}
		}
		if by := g.CreatedBy(e); by.Func != "" {
			s.Label["created_by"] = []string{by.Func}
		}
		// The program's own labels come first where names coincide.
		for _, l := range e.Labels {
			s.Label[l.Key] = append([]string{l.Value}, s.Label[l.Key]...)
		}
		var callee pclntab.Callee
		for _, pc := range e.PCs {
			var frames []pclntab.Frame
			frames, callee = g.symbols.unwound(pc, callee)
			if len(frames) == 0 || frames[0].Func == goexit {
				continue
			}
			s.Location = append(s.Location, b.location(pc, frames))
		}
		b.p.Sample = append(b.p.Sample, s)
	}
	b.comment(g.Truncated > 0, "%d goroutines are missing: too many, or their list is not readable", g.Truncated)
	b.comment(g.Moved > 0, "%d goroutines ran while they were read and have no stack", g.Moved)
	b.comment(g.Incomplete > 0, "%d stacks lack their outer part", g.Incomplete)
	b.comment(g.CutStacks > 0, "%d stacks are cut at %d frames or %d bytes", g.CutStacks, maxDepth, maxStackBytes)
	return b.write(w)
}

// WritePprof writes the profile as a gzip-compressed pprof file with the
// samples, scaled, that the target's own would hold. Samples that are zero
// throughout are left out.
func (p *Profile) WritePprof(w io.Writer, opts WriteOptions) error {
	b := newBuilder(opts)
	b.p.TimeNanos = p.Time.UnixNano()
	if p.Kind == record.ProfileHeap {
		b.p.PeriodType = &pprof.ValueType{Type: "space", Unit: "bytes"}
		b.p.Period = p.Rate
		b.p.SampleType = []*pprof.ValueType{
			{Type: "alloc_objects", Unit: "count"}, {Type: "alloc_space", Unit: "bytes"},
			{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"},
		}
		if opts.Allocs {
			b.p.DefaultSampleType = "alloc_space"
		}
	} else {
		b.p.PeriodType = &pprof.ValueType{Type: "contentions", Unit: "count"}
		b.p.Period = 1
		b.p.SampleType = []*pprof.ValueType{{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}}
	}
	for i := range p.Records {
		r := &p.Records[i]
		s := &pprof.Sample{}
		if p.Kind == record.ProfileHeap {
			objects, bytes := scaleHeapSample(r.Allocs, r.Size, p.Rate)
			inUse, inUseBytes := scaleHeapSample(r.InUse(), r.Size, p.Rate)
			s.Value = []int64{objects, bytes, inUse, inUseBytes}
			s.NumLabel = map[string][]int64{"bytes": {r.Size}}
			if r.Allocs == 0 && r.InUse() == 0 {
				continue
			}
		} else {
			s.Value = []int64{r.Count, int64(p.Delay(r))}
			if r.Count == 0 && r.Cycles == 0 {
				continue
			}
		}
		for _, l := range p.locations(r.Stack) {
			s.Location = append(s.Location, b.location(l.pc, l.frames))
		}
		b.p.Sample = append(b.p.Sample, s)
	}
	b.comment(p.Kind == record.ProfileHeap && p.Rate <= 0, "sampling is off (runtime.MemProfileRate is 0): values are of what was sampled before, unscaled")
	b.comment(p.Truncated != "", "records are missing: %s", p.Truncated)
	b.comment(p.Moving, "a GC cycle ended during each reading, records may disagree by one cycle")
	b.comment(p.Unpublished, "no GC has published a profile yet: objects that are dead already count as in use")
	return b.write(w)
}

// builder makes a pprof profile.
type builder struct {
	p         *pprof.Profile
	locations map[locationKey]*pprof.Location
	functions map[functionKey]*pprof.Function
}

// locationKey tells locations apart: at one address, what is hidden of the
// inlined functions can differ.
type locationKey struct {
	pc     uint64
	frames int
}

type functionKey struct{ symbol, file string }

func newBuilder(opts WriteOptions) *builder {
	b := &builder{
		p:         &pprof.Profile{},
		locations: make(map[locationKey]*pprof.Location),
		functions: make(map[functionKey]*pprof.Function),
	}
	for i, m := range opts.Mappings {
		b.p.Mapping = append(b.p.Mapping, &pprof.Mapping{
			ID: uint64(i + 1), Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID,
			HasFunctions: true, HasFilenames: true, HasLineNumbers: true, HasInlineFrames: true,
		})
	}
	return b
}

func (b *builder) comment(when bool, format string, args ...any) {
	if when {
		b.p.Comments = append(b.p.Comments, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (b *builder) location(pc uint64, frames []pclntab.Frame) *pprof.Location {
	k := locationKey{pc, len(frames)}
	if l, ok := b.locations[k]; ok {
		return l
	}
	// The address is within the call, not behind it, as in the runtime's own profiles.
	l := &pprof.Location{ID: uint64(len(b.p.Location) + 1), Address: frames[0].PC}
	for _, m := range b.p.Mapping {
		if l.Address >= m.Start && l.Address < m.Limit {
			l.Mapping = m
			break
		}
	}
	for i := range frames {
		f := &frames[i]
		l.Line = append(l.Line, pprof.Line{Function: b.function(f), Line: int64(f.Line)})
	}
	b.locations[k] = l
	b.p.Location = append(b.p.Location, l)
	return l
}

func (b *builder) function(f *pclntab.Frame) *pprof.Function {
	k := functionKey{f.Symbol, f.File}
	if fn, ok := b.functions[k]; ok {
		return fn
	}
	fn := &pprof.Function{
		ID: uint64(len(b.p.Function) + 1), Name: f.Symbol, SystemName: f.Symbol, Filename: f.File, StartLine: int64(f.StartLine),
	}
	b.functions[k] = fn
	b.p.Function = append(b.p.Function, fn)
	return fn
}

func (b *builder) write(w io.Writer) error {
	if err := b.p.CheckValid(); err != nil {
		return fmt.Errorf("building the pprof file: %w", err)
	}
	if err := b.p.Write(w); err != nil {
		return fmt.Errorf("writing the pprof file: %w", err)
	}
	return nil
}
