package profile

import "testing"

// TestHashesCannotBeChosen: goroutines whose hashes would be equal if nothing
// in them were secret are found as quickly as others.
func TestHashesCannotBeChosen(t *testing.T) {
	const n = 4096
	w := &Walker{index: map[uint64]int32{}, seed: 0x5eed5eed5eed5eed}
	w.code.starts = map[uint64]startKind{0: startUser}
	var out Goroutines
	for i := range uint64(n) {
		g := &gInfo{status: gWaiting, gopc: i}
		g.labels = mix(mix(0, gWaiting<<8), i) // cancels what came before it
		w.add(&out, g, nil, false, 0)
		g = &gInfo{status: gWaiting, gopc: i}
		g.labels = mix(gWaiting<<8, i)
		w.add(&out, g, nil, false, 0)
	}
	longest := 0
	for _, first := range w.index {
		length := 0
		for k := first; k >= 0; k = w.groups[k].next {
			length++
		}
		longest = max(longest, length)
	}
	if len(w.groups) != 2*n || longest > 8 {
		t.Errorf("%d groups of %d, up to %d with one hash", len(w.groups), 2*n, longest)
	}

	c := codeCache{seed: w.seed}
	for _, shift := range []int{0, 16, 32, 48} {
		slots := map[uint64]bool{}
		for i := range uint64(n) {
			slots[c.slot(i<<shift)&(n-1)] = true
		}
		if len(slots) < n/2 {
			t.Errorf("%d program counters that differ from bit %d on have %d hashes", n, shift, len(slots))
		}
	}
}
