package escape

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// A Package is one of those that were compiled.
type Package struct {
	ImportPath string
	Name       string // "main" of a program
	Dir        string // absolute
}

// An Allocation is what one stack allocated: a difference of two profiles, or
// all since the program started.
type Allocation struct {
	Stack   []record.Frame // leaf first
	Bytes   float64
	Objects float64
	// Samples is how many of the profiler's samples Bytes rests on; 0 is not known.
	Samples int64
}

// An Agreement says how the compiler's words and the measurement go together.
type Agreement string

// What a Line's decisions and allocations may say of each other.
const (
	// Agree: it escapes, and it is allocated.
	Agree Agreement = "agree"
	// Elsewhere: the line allocates in what it calls, outside of the packages.
	Elsewhere Agreement = "in a callee"
	// Denied: the compiler says that it does not escape, and yet the line allocates.
	Denied Agreement = "allocates though it does not escape"
	// Silent: the compiler says nothing of a line that allocates.
	Silent Agreement = "allocates without a word"
	// Unseen: the compiler says that it escapes, and no allocation was seen.
	Unseen Agreement = "escapes, but was not seen to allocate"
)

// A Line is a line of source, with what the compiler says and what was measured.
type Line struct {
	File      string // absolute, where the packages have it
	Line      int
	Func      string // as the profile has it; "" when it was not measured
	Bytes     float64
	Objects   float64
	Samples   int64
	Agreement Agreement
	Decisions []Decision // those that escape first
	// Callees are the functions outside of the packages in which the line's
	// allocations happen, those with the most bytes first.
	Callees []Callee
	// Allocates is what at the line can allocate in the runtime, such as "append":
	// from the source, filled in by Explain.
	Allocates []string
}

// A Callee is a function that allocates on behalf of a line.
type Callee struct {
	Func  string
	Bytes float64
}

// A Report is the outcome of a Join.
type Report struct {
	Bytes, Objects float64 // of the whole profile
	Inside         float64 // bytes of lines of the packages, what they call included
	Lines          []Line  // most bytes first, then by place
}

const maxCallees = 5

// Join puts decisions and allocations together. A stack counts for its first
// frame, from the leaf, that lies in one of the packages; stacks without one are
// in Report.Bytes only.
func Join(decisions []Decision, allocations []Allocation, packages []Package) *Report {
	type key struct {
		file string
		line int
	}
	type entry struct {
		Line
		own     float64 // bytes allocated by the line itself
		callees map[string]float64
	}
	r := &Report{}
	places := newPlaces(packages)
	lines := map[key]*entry{}
	at := func(file string, line int) *entry {
		k := key{file, line}
		e := lines[k]
		if e == nil {
			e = &entry{Line: Line{File: file, Line: line}}
			lines[k] = e
		}
		return e
	}
	for _, d := range decisions {
		e := at(d.File, d.Line)
		if !slices.ContainsFunc(e.Decisions, func(o Decision) bool { return o.Verdict == d.Verdict && o.What == d.What }) {
			e.Decisions = append(e.Decisions, d)
		}
	}
	for _, a := range allocations {
		if a.Bytes <= 0 && a.Objects <= 0 {
			continue
		}
		r.Bytes += a.Bytes
		r.Objects += a.Objects
		for i, f := range a.Stack {
			file, ok := places.find(f)
			if !ok {
				continue
			}
			r.Inside += a.Bytes
			e := at(file, f.Line)
			e.Bytes += a.Bytes
			e.Objects += a.Objects
			e.Samples += a.Samples
			e.Func = f.Func
			if i == 0 {
				e.own += a.Bytes
			} else {
				if e.callees == nil {
					e.callees = map[string]float64{}
				}
				e.callees[a.Stack[i-1].Func] += a.Bytes
			}
			break
		}
	}
	for _, e := range lines {
		escapes, stays := false, false
		for _, d := range e.Decisions {
			escapes = escapes || d.Verdict != Stays
			stays = stays || d.Verdict == Stays
		}
		switch {
		case e.Bytes == 0 && !escapes:
			continue // it stays, and was not seen: nothing to say
		case e.Bytes == 0:
			e.Agreement = Unseen
		case escapes:
			e.Agreement = Agree
		case e.own < e.Bytes/2:
			e.Agreement = Elsewhere
		case stays:
			e.Agreement = Denied
		default:
			e.Agreement = Silent
		}
		slices.SortStableFunc(e.Decisions, func(a, b Decision) int {
			return cmp.Or(compareBool(a.Verdict == Stays, b.Verdict == Stays), cmp.Compare(a.Column, b.Column))
		})
		for name, bytes := range e.callees {
			e.Callees = append(e.Callees, Callee{name, bytes})
		}
		slices.SortFunc(e.Callees, func(a, b Callee) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Func, b.Func)) })
		e.Callees = e.Callees[:min(len(e.Callees), maxCallees)]
		r.Lines = append(r.Lines, e.Line)
	}
	slices.SortFunc(r.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return r
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// places finds the source of frames. A program may have been built in another
// directory, or with -trimpath, so that a frame's file is only compared by its
// base name; which package it is in its function's name says.
type places struct {
	byImport map[string]Package
	mains    []Package
}

func newPlaces(packages []Package) places {
	p := places{byImport: map[string]Package{}}
	for _, pkg := range packages {
		p.byImport[pkg.ImportPath] = pkg
		if pkg.Name == "main" {
			p.mains = append(p.mains, pkg)
		}
	}
	return p
}

func (p places) find(f record.Frame) (file string, ok bool) {
	importPath := packageOf(f.Func)
	base := path.Base(strings.ReplaceAll(f.File, "\\", "/"))
	if importPath != "main" {
		pkg, ok := p.byImport[importPath]
		return path.Join(pkg.Dir, base), ok
	}
	// Of several programs it is the one in whose directory the file lies, or whose
	// import path the trimmed name has.
	dir := path.Dir(strings.ReplaceAll(f.File, "\\", "/"))
	for _, pkg := range p.mains {
		if len(p.mains) == 1 || dir == pkg.Dir || dir == pkg.ImportPath {
			return path.Join(pkg.Dir, base), true
		}
	}
	return "", false
}

// packageOf is the import path in a function's name: "example.com/a/b" of
// "example.com/a/b.(*T).M". Dots in its last part are escaped in names, as %2e.
func packageOf(fn string) string {
	// Type arguments may have slashes in them.
	name, _, _ := strings.Cut(fn, "[")
	slash := strings.LastIndexByte(name, '/') + 1
	dot := strings.IndexByte(name[slash:], '.')
	if dot < 0 {
		return ""
	}
	return strings.ReplaceAll(name[:slash+dot], "%2e", ".")
}
