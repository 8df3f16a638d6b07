package api

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// Bounds of a list of goroutines.
const (
	maxGroups = 1000
	maxFrames = 100 // of a stack
	maxLabels = 32
)

// groups are the goroutines of one moment, and how many of each there were at
// another, which may be nil. Groups that are gone have a count of 0. It returns how
// many groups were left out.
func groups(at, base *record.Goroutines) (out []GoroutineGroup, left int) {
	index := map[string]int{}
	out = []GoroutineGroup{}
	collect := func(g *record.Goroutines, add func(*GoroutineGroup, int)) {
		if g == nil {
			return
		}
		for i := range g.Groups {
			gr := &g.Groups[i]
			k := groupKey(gr)
			at, ok := index[k]
			if !ok {
				at = len(out)
				index[k] = at
				out = append(out, groupOf(gr))
			}
			add(&out[at], max(gr.Count, 0))
		}
	}
	collect(at, func(g *GoroutineGroup, n int) { g.Count += n })
	collect(base, func(g *GoroutineGroup, n int) { g.Base += n })
	order := make([]string, len(out))
	for k, i := range index {
		order[i] = k
	}
	byOrder := make([]int, len(out))
	for i := range out {
		byOrder[i] = i
		if base != nil {
			out[i].Growth = out[i].Count - out[i].Base
		}
	}
	slices.SortFunc(byOrder, func(a, b int) int {
		x, y := &out[a], &out[b]
		return cmp.Or(cmp.Compare(max(y.Count, y.Base), max(x.Count, x.Base)), cmp.Compare(order[a], order[b]))
	})
	if len(byOrder) > maxGroups {
		left = len(byOrder) - maxGroups
		byOrder = byOrder[:maxGroups]
	}
	sorted := make([]GoroutineGroup, 0, len(byOrder))
	for _, i := range byOrder {
		sorted = append(sorted, out[i])
	}
	slices.SortStableFunc(sorted, func(a, b GoroutineGroup) int { return cmp.Compare(b.Count, a.Count) })
	return sorted, left
}

// groupKey tells groups apart: by what makes goroutines one group.
func groupKey(g *record.GoroutineGroup) string {
	var b strings.Builder
	for _, s := range []string{g.Status, g.WaitReason, stackKey([]record.Frame{g.CreatedBy})} {
		b.WriteString(s)
		b.WriteByte(0)
	}
	b.WriteString(stackKey(g.Stack))
	for _, k := range slices.Sorted(maps.Keys(g.Labels)) {
		b.WriteString(k + "\x00" + g.Labels[k] + "\x00")
	}
	return b.String()
}

func groupOf(g *record.GoroutineGroup) GoroutineGroup {
	out := GoroutineGroup{
		Status: cut(g.Status), WaitReason: nonZero(cut(g.WaitReason)), WaitMaxSeconds: nonZero(max(g.WaitMax, 0).Seconds()),
		Stack: []record.Frame{}, Labels: map[string]string{}, System: g.System,
	}
	if by := frame(g.CreatedBy); by != (record.Frame{}) {
		out.CreatedBy = &by
	}
	for _, f := range g.Stack[:min(len(g.Stack), maxFrames)] {
		out.Stack = append(out.Stack, frame(f))
	}
	for _, k := range slices.Sorted(maps.Keys(g.Labels))[:min(len(g.Labels), maxLabels)] {
		out.Labels[cut(k)] = cut(g.Labels[k])
	}
	return out
}

func frame(f record.Frame) record.Frame {
	return record.Frame{Func: cut(f.Func), File: cut(f.File), Line: max(f.Line, 0)}
}
