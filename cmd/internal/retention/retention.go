// Package retention says who keeps the memory of a heap: which global or goroutine,
// by which way, how much would be free without it; for the places that allocate, by
// whom their objects are kept; and what only the graph of a heap shows, such as a
// large array of which a few bytes are in use.
//
// It is pure: it works on a [heapgraph.Graph], and looks into objects only through
// Options.Look. It does not say what is a leak: a cache keeps memory, too.
package retention

import (
	"context"
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/record"
)

// Schema names the form of a Report as JSON.
const Schema = "heapwright.retention/1"

// Bounds of a report.
const (
	defaultHolders = 30
	defaultShare   = 0.005
	maxSteps       = 12      // of a path that is shown
	maxSites       = 100     // allocation sites
	maxSiteHolders = 5       // holders of one site
	maxGroups      = 1 << 18 // distinct paths of types
	maxName        = 200     // runes of a type's or a root's name
)

// Options are what Analyse needs besides the graph. The zero value is fine.
type Options struct {
	// Look copies memory of the process at addr into buf, and returns how many bytes
	// it could. Without it there are no names of fields, and no hints that rest on
	// what is in objects.
	Look func(addr uint64, buf []byte) int
	// Precise says how pointers were told from other words: "typed", "bitmaps" or
	// "conservative".
	Precise string
	// SampleRate is runtime.MemProfileRate, 0 for its default.
	SampleRate int64
	// Holders is how many are listed at most, and Share of the live bytes what each
	// keeps at least; 0: 30 and 0.005.
	Holders int
	Share   float64
}

// A Report is who keeps what.
type Report struct {
	Schema string `json:"schema"`
	// Objects and LiveBytes count all objects of the heap, in the sizes of their size
	// classes. UnreachedBytes are of those that no root reaches: garbage that is not
	// swept yet, or what was allocated or moved while the heap was read.
	Objects        uint64 `json:"objects"`
	LiveBytes      uint64 `json:"live_bytes"`
	UnreachedBytes uint64 `json:"unreached_bytes"`
	// Precise is how pointers were told from other words, Coarse in which way nodes
	// stand for several objects, "" when each is one.
	Precise string        `json:"precise"`
	Coarse  string        `json:"coarse,omitempty"`
	Holders []Holder      `json:"holders"`
	Sites   []SiteHolders `json:"sites,omitempty"`
	Hints   []Hint        `json:"hints,omitempty"`
	Notes   []string      `json:"notes,omitempty"`

	// owned and reached are all paths, for pprof files: by dominators, and the shortest.
	owned, reached []group
	kinds          []kind
}

// A Root is where a path begins.
type Root struct {
	Kind string `json:"kind"` // global, stack, finalizer, cleanup, other
	Name string `json:"name"`
	// CreatedBy is the function with the go statement, and Stack that of the
	// goroutine, for kind stack.
	CreatedBy string         `json:"created_by,omitempty"`
	Stack     []record.Frame `json:"stack,omitempty"`
	// Count is how many roots of this name there are: goroutines with this frame.
	Count int `json:"count"`
}

// A Step of a path is objects of one type that the step before refers to. Siblings
// are one step.
type Step struct {
	Type string `json:"type"`
	// Field is the field of the step before that leads here, of one of the objects:
	// "sessions". "" where it is not known.
	Field   string `json:"field,omitempty"`
	Objects uint64 `json:"objects"`
	// RetainedBytes would be free without the objects of this step.
	RetainedBytes uint64 `json:"retained_bytes"`
	// Recursive says that objects of this type refer to each other, and that the step
	// stands for all of them.
	Recursive bool `json:"recursive,omitempty"`
}

// A Holder keeps memory that would be free without it.
type Holder struct {
	Root Root `json:"root"`
	// Path leads from the root to what is kept: first single objects, then those that
	// there are many of.
	Path []Step `json:"path"`
	// Type is the object that holds the many: the last of the path that is alone, and
	// Container what it is: map, slice, list, chan, sync.Map, pool, or "".
	Type      string `json:"type"`
	Container string `json:"container,omitempty"`
	Elements  uint64 `json:"elements,omitempty"`
	// Address is that of the object, or of the largest where there are several.
	Address string `json:"address,omitempty"`
	// Shared says that several roots keep the objects: Root and Path are the shortest
	// way to the largest of them, and SharedBy names others.
	Shared   bool     `json:"shared,omitempty"`
	SharedBy []string `json:"shared_by,omitempty"`
	// UsedBy names goroutines and others that refer to the objects, too, without being
	// counted as who keeps them: see heapgraph.Graph.Keeps.
	UsedBy []string `json:"used_by,omitempty"`
	// OwnBytes are of the last single object, RetainedBytes of all that it keeps.
	OwnBytes        uint64  `json:"own_bytes"`
	RetainedBytes   uint64  `json:"retained_bytes"`
	RetainedObjects uint64  `json:"retained_objects"`
	Share           float64 `json:"share"` // of the live bytes

	group uint32
}

// SiteHolders says who keeps the objects of a place that allocates, as far as the
// runtime's heap profiler sampled them.
type SiteHolders struct {
	Stack   []record.Frame `json:"stack"`
	Samples int            `json:"samples"`
	// Unreached is how many of them no root reaches.
	Unreached int          `json:"unreached,omitempty"`
	Holders   []SiteHolder `json:"holders"`
}

// A SiteHolder keeps objects of a site.
type SiteHolder struct {
	// Holder is the index into Report.Holders, -1 when it is not large enough to be
	// among them.
	Holder  int     `json:"holder"`
	Root    Root    `json:"root"`
	Path    []Step  `json:"path"`
	Samples int     `json:"samples"`
	Share   float64 `json:"share"` // of the site's bytes, by the samples
}

// A Hint is a fact that only the graph shows.
type Hint struct {
	Kind string `json:"kind"` // the ID of a cause, as "sub-slice"
	// Bytes is how much the fact is about: what would be free without it.
	Bytes  uint64             `json:"bytes"`
	Root   Root               `json:"root"`
	Path   []Step             `json:"path,omitempty"`
	Text   string             `json:"text"`
	Values map[string]float64 `json:"values,omitempty"`
}

// Analyse finds out who keeps what. It takes some 60 bytes of memory for each node
// of the graph, and 4 for each reference.
func Analyse(ctx context.Context, g *heapgraph.Graph, opt Options) (*Report, error) {
	if opt.Holders <= 0 {
		opt.Holders = defaultHolders
	}
	if opt.Share <= 0 {
		opt.Share = defaultShare
	}
	if opt.SampleRate <= 0 {
		opt.SampleRate = 512 << 10
	}
	a := &analysis{ctx: ctx, g: g, opt: opt, r: &Report{
		Schema: Schema, Objects: g.LiveObjects, LiveBytes: g.LiveBytes, Precise: opt.Precise, Coarse: g.Coarse.String(),
	}}
	if err := a.run(); err != nil {
		return nil, fmt.Errorf("analysing the heap: %w", err)
	}
	return a.r, nil
}

// An analysis is the state of Analyse.
type analysis struct {
	ctx   context.Context
	g     *heapgraph.Graph
	opt   Options
	r     *Report
	tree  *heapgraph.Tree
	paths *heapgraph.Paths

	owned   *trie
	leaping []leap
}

func (a *analysis) run() error {
	var err error
	if a.tree, err = heapgraph.Dominators(a.ctx, a.g); err != nil {
		return err
	}
	all, _ := a.tree.Retained(heapgraph.SuperRoot)
	a.r.UnreachedBytes = a.g.LiveBytes - min(all, a.g.LiveBytes)
	if a.paths, err = heapgraph.ShortestPaths(a.ctx, a.g); err != nil {
		return err
	}
	k := kindsOf(a.g)
	a.owned = newTrie(a.g, k, a.tree.Order(), a.tree.Dominator, a.tree)
	a.r.Holders = a.holders()
	a.r.Sites = a.sites()
	if err := a.hints(); err != nil {
		return err
	}
	a.r.owned, a.r.kinds = a.owned.groups, k.list
	a.owned, a.tree = nil, nil
	reached := newTrie(a.g, k, a.paths.Order(), a.paths.From, nil)
	a.fill(reached)
	a.r.reached = reached.groups
	a.notes()
	return nil
}

func (a *analysis) notes() {
	note := func(when bool, format string, args ...any) {
		if when {
			a.r.Notes = append(a.r.Notes, fmt.Sprintf(format, args...))
		}
	}
	note(a.g.Coarse != heapgraph.Exact, "the heap is too large for a node an object: %s", a.g.Coarse)
	note(a.r.UnreachedBytes*10 > a.r.LiveBytes, "no root reaches %d%% of the bytes: they are garbage that has not been swept, or changed while they were read",
		a.r.UnreachedBytes*100/max(a.r.LiveBytes, 1))
	note(a.opt.Look == nil, "objects were not looked into: no names of fields, and fewer hints")
}
