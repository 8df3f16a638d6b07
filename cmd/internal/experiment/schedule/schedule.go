// Package schedule says which variants run in which block, and in which order.
// It is pure: the same plan gives the same schedule, so that an experiment that
// was cut off goes on where it stopped, and a sceptic can draw the order again.
//
// A switchback runs one process at a time. Its unit is a round, in which every
// variant runs once; two rounds make a quad, and the second mirrors the first:
// ABBA or BAAB, by a coin. What drifts evenly cancels within a quad, and as the
// coin is fair no drift has a sign.
//
// A duet runs the baseline and a variant at the same time. Which of the two is
// started first and takes the first place in everything is drawn by the coin, and
// swapped in the second round of a quad.
package schedule

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// An Item is a block that is to be run.
type Item struct {
	Phase  experiment.Phase
	Design string
	Round  int
	Quad   int
	Arms   []Arm
}

// An Arm is a process of a block. Slot tells the two processes of a calibration
// apart, which run the same variant; for others it is 0 for the baseline and 1 for
// what is compared with it.
type Arm struct {
	Variant int
	Slot    int
}

// Designs are those that the plan needs, switchback first.
func Designs(p *experiment.Plan) []string {
	switch p.Design.Kind {
	case experiment.Switchback, experiment.Duet:
		return []string{p.Design.Kind}
	case experiment.Both:
		return []string{experiment.Switchback, experiment.Duet}
	}
	var cost, latency bool
	of := func(name string) {
		m, ok := experiment.MetricByName(name)
		latency = latency || ok && m.Family == experiment.Latency
		cost = cost || ok && m.Family != experiment.Latency
	}
	if p.Goal != nil {
		of(p.Goal.Metric)
	}
	for _, g := range p.Guards {
		of(g.Metric)
	}
	switch {
	case latency && cost:
		return []string{experiment.Switchback, experiment.Duet}
	case latency:
		return []string{experiment.Duet}
	}
	return []string{experiment.Switchback}
}

// Calibration is the blocks in which the baseline is compared with itself, of
// every design of the plan, quad by quad in turn.
func Calibration(p *experiment.Plan) []Item {
	var items []Item
	for quad := range (p.Design.Calibration + 1) / 2 {
		for _, design := range Designs(p) {
			items = append(items, Quad(p, experiment.PhaseCalibration, design, quad, []int{0})...)
		}
	}
	return items
}

// Comparison is the blocks of one quad of every design, for the variants that
// still run beside the baseline.
func Comparison(p *experiment.Plan, quad int, variants []int) []Item {
	var items []Item
	for _, design := range Designs(p) {
		phase := experiment.PhaseSwitchback
		if design == experiment.Duet {
			phase = experiment.PhaseDuet
		}
		items = append(items, Quad(p, phase, design, quad, variants)...)
	}
	return items
}

// Quad is two rounds, the second mirroring the first. Variants are those that are
// compared with the baseline; in a calibration it is the baseline itself.
func Quad(p *experiment.Plan, phase experiment.Phase, design string, quad int, variants []int) []Item {
	rnd := rand.New(rand.NewPCG(p.Seed, key(phase, design, quad)))
	var first [][]Arm // the arms of each block
	if design == experiment.Switchback {
		arms := []Arm{{Variant: 0, Slot: 0}}
		for _, v := range variants {
			arms = append(arms, Arm{Variant: v, Slot: 1})
		}
		rnd.Shuffle(len(arms), func(i, j int) { arms[i], arms[j] = arms[j], arms[i] })
		for _, a := range arms {
			first = append(first, []Arm{a})
		}
	} else {
		for _, v := range variants {
			arms := []Arm{{Variant: 0, Slot: 0}, {Variant: v, Slot: 1}}
			if rnd.IntN(2) == 1 {
				slices.Reverse(arms)
			}
			first = append(first, arms)
		}
		rnd.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	}
	var items []Item
	for round := range 2 {
		for i := range first {
			arms := first[i]
			if round == 1 {
				arms = slices.Clone(first[len(first)-1-i])
				slices.Reverse(arms)
			}
			items = append(items, Item{Phase: phase, Design: design, Round: 2*quad + round, Quad: quad, Arms: arms})
		}
	}
	return items
}

// Check says whether blocks are those that the plan's seed draws, in their order and
// with none left out; the last quad may not be whole. From when on a variant did not
// run is taken from the blocks, that it was stopped from the looks, or from how its
// processes ended.
func Check(p *experiment.Plan, blocks []experiment.Block, looks []experiment.Look) error {
	n, err := follow(blocks, 0, Calibration(p))
	if err != nil {
		return err
	}
	all := map[int]bool{}
	for v := 1; v < len(p.Variants); v++ {
		all[v] = true
	}
	alive, last := all, left(all, blocks, looks)
	for quad := 0; n < len(blocks); quad++ {
		// The blocks that say they are of the quad, and who is in them.
		there, end := map[int]bool{}, n
		for ; end < len(blocks) && blocks[end].Quad == quad; end++ {
			for _, a := range blocks[end].Arms {
				if alive[a.Variant] {
					there[a.Variant] = true
				}
			}
		}
		sets := []map[int]bool{there}
		if end == len(blocks) { // not all may have had their turn
			sets = []map[int]bool{alive, last, there}
		}
		found := false
		for _, set := range sets {
			items := Comparison(p, quad, slices.Sorted(maps.Keys(set)))
			m, e := follow(blocks[:end], n, items)
			if e == nil && (m < end || m == n || end < len(blocks) && m-n < len(items)) {
				e = fmt.Errorf("after block %d there are blocks missing, or too many: %d of quad %d, which has %d", n, end-n, quad, len(items))
			}
			if e == nil {
				if m-n == len(items) {
					alive = set
				}
				n, found = m, true
				break
			}
			if err == nil {
				err = e
			}
		}
		if !found {
			return err
		}
		err = nil
	}
	for v := range last {
		if !alive[v] {
			return fmt.Errorf("variant %d is not in the last blocks, and no look has stopped it", v)
		}
	}
	return nil
}

// follow counts on from block n as far as the blocks are the items; they may end
// before those do.
func follow(blocks []experiment.Block, n int, items []Item) (int, error) {
	for _, it := range items {
		if n == len(blocks) {
			break
		}
		if !it.Is(blocks[n]) {
			return n, fmt.Errorf("block %d is not the one that the plan's seed draws there (%s %s, round %d)", n, it.Phase, it.Design, it.Round)
		}
		n++
	}
	return n, nil
}

// left is who runs on after the looks, and where processes ended by themselves.
func left(alive map[int]bool, blocks []experiment.Block, looks []experiment.Look) map[int]bool {
	out := maps.Clone(alive)
	for _, l := range looks {
		for _, v := range l.Stopped {
			delete(out, v)
		}
	}
	for _, b := range blocks {
		for _, a := range b.Arms {
			if a.End.How == experiment.EndedCrashed || a.End.How == experiment.EndedOOM {
				delete(out, a.Variant)
			}
		}
	}
	return out
}

// Is says whether a block is the one that is to be run.
func (it Item) Is(b experiment.Block) bool {
	return b.Phase == it.Phase && b.Design == it.Design && b.Round == it.Round && b.Quad == it.Quad &&
		slices.EqualFunc(b.Arms, it.Arms, func(a experiment.Arm, want Arm) bool {
			return a.Variant == want.Variant && a.Slot == want.Slot
		})
}

// key makes the random numbers of each quad its own, whatever ran before it.
func key(phase experiment.Phase, design string, quad int) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(string(phase) + "/" + design) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ uint64(quad)*0x9e3779b97f4a7c15
}
