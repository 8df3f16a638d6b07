package remote

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/fingerprint"
	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
)

// needed are the globals without which no sample can be taken. Each must have
// two independent votes: of two functions, or of one and the symbol table.
var needed = []string{
	"runtime.gcController", "runtime.memstats", "runtime.work", "runtime.sched",
	"runtime.allgptr", "runtime.allglen", "runtime.allp", "runtime.gcphase", "runtime.gomaxprocs",
	"runtime.firstmoduledata",
}

// A ballot holds the votes for one global.
type ballot struct {
	addrs  []uint64 // distinct addresses that were voted for
	voters int      // functions, and the symbol table
}

func (b *ballot) vote(addr uint64) {
	if !slices.Contains(b.addrs, addr) {
		b.addrs = append(b.addrs, addr)
	}
	b.voters++
}

// An election is the outcome of resolving a program's globals.
type election struct {
	ballots map[string]*ballot
	matched int // anchor functions found with a known fingerprint
	tried   int // anchor functions that the tables name
}

// elect lets the anchors of a release, found in table, and the symbol table vote.
// code reads the program's text at the addresses that table uses; symbols are
// addresses of the same kind.
func elect(rel *layout.Release, table *pclntab.Table, code func(addr uint64, buf []byte) error, symbols map[string]uint64) (*election, error) {
	byName := map[string][]layout.Anchor{}
	for _, a := range rel.Anchors {
		byName[a.Func] = append(byName[a.Func], a)
	}
	names := make([]string, 0, len(byName))
	for n := range byName {
		names = append(names, n)
	}
	slices.Sort(names)
	found, err := table.Lookup(names)
	if err != nil {
		return nil, refuse("its function table is damaged: %v", err)
	}
	e := &election{ballots: map[string]*ballot{}, tried: len(names)}
	for _, name := range names {
		if e.anchor(rel.GOARCH, byName[name], found[name], code) {
			e.matched++
		}
	}
	for s, addr := range symbols {
		e.ballot(s).vote(addr)
	}
	return e, nil
}

func (e *election) ballot(symbol string) *ballot {
	b := e.ballots[symbol]
	if b == nil {
		b = &ballot{}
		e.ballots[symbol] = b
	}
	return b
}

// padding is the most that the linker leaves between two functions.
const padding = 64

// maxNamesakes bounds the functions of one name that are looked at: a name has
// two at most, a function and its ABI wrapper, in a program that does not lie.
const maxNamesakes = 4

// anchor lets the functions of one name vote; a function votes once for a
// global, however often it refers to it, unless it contradicts itself.
func (e *election) anchor(goarch string, anchors []layout.Anchor, funcs []pclntab.Func, code func(uint64, []byte) error) bool {
	matched := false
	for _, f := range funcs[:min(len(funcs), maxNamesakes)] {
		var body []byte
		for _, a := range anchors {
			room := f.End - f.Entry
			if a.Size > fingerprint.MaxCode || f.End < f.Entry || room < uint64(a.Size) || room > uint64(a.Size)+padding {
				continue
			}
			if len(body) < int(a.Size) {
				body = make([]byte, a.Size)
				if code(f.Entry, body) != nil {
					break
				}
			}
			p, err := fingerprint.At(goarch, body[:a.Size], f.Entry, a.Fields)
			if err != nil || p.Hash != a.Hash {
				continue
			}
			matched = true
			voted := map[string]uint64{}
			for _, ref := range a.Refs {
				if ref.Index >= len(p.Refs) {
					continue
				}
				addr := p.Refs[ref.Index].Addr - uint64(ref.Addend)
				if old, again := voted[ref.Symbol]; again && old == addr {
					continue
				}
				voted[ref.Symbol] = addr
				e.ballot(ref.Symbol).vote(addr)
			}
		}
	}
	return matched
}

// result returns the globals that won, and why each of the others did not.
// A needed global without two agreeing votes is an error.
func (e *election) result() (map[string]uint64, map[string]string, error) {
	globals, missing := map[string]uint64{}, map[string]string{}
	for s, b := range e.ballots {
		if len(b.addrs) > 1 {
			missing[s] = fmt.Sprintf("%d votes disagree about its address", b.voters)
			continue
		}
		globals[s] = b.addrs[0]
	}
	var lacking []string
	for _, s := range needed {
		b := e.ballots[s]
		switch {
		case b == nil:
			lacking = append(lacking, strings.TrimPrefix(s, "runtime.")+" (not found)")
		case len(b.addrs) > 1:
			lacking = append(lacking, strings.TrimPrefix(s, "runtime.")+" ("+missing[s]+")")
		case b.voters < 2:
			lacking = append(lacking, strings.TrimPrefix(s, "runtime.")+" (only one vote)")
		}
	}
	if len(lacking) > 0 {
		return nil, nil, &RefusedError{
			Reason: fmt.Sprintf("%d of %d known runtime functions match, which does not settle where %s lie", e.matched, e.tried, strings.Join(lacking, ", ")),
			hint:   "the program was built with unusual compiler flags (-N -l) and stripped, or with a modified toolchain; keep its symbol table (no -ldflags=-s) to help",
		}
	}
	return globals, missing, nil
}
