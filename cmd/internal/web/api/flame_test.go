package api

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/record"
)

func frames(names ...string) []record.Frame {
	var out []record.Frame
	for _, n := range names {
		out = append(out, record.Frame{Func: n, File: n + ".go", Line: 10})
	}
	return out
}

// show writes a tree in one line.
func show(n *Node) string {
	text := fmt.Sprintf("%s:%g/%g/%g", n.Name, n.Value, n.Base, n.Self)
	if len(n.Children) == 0 {
		return text
	}
	var below []string
	for _, c := range n.Children {
		below = append(below, show(c))
	}
	return text + "(" + strings.Join(below, " ") + ")"
}

func TestFlame(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stacks []stack
		want   string
	}{
		{"nothing", nil, "root:0/0/0"},
		{"one", []stack{{frames("leaf", "main"), 5, 0}}, "root:5/0/0(main:5/0/0(leaf:5/0/5))"},
		{"two branches", []stack{{frames("a", "main"), 5, 0}, {frames("b", "main"), 7, 0}, {frames("main"), 1, 0}},
			"root:13/0/0(main:13/0/1(b:7/0/7 a:5/0/5))"},
		{"recursion", []stack{{frames("f", "f", "main"), 2, 0}, {frames("f", "main"), 3, 0}}, "root:5/0/0(main:5/0/0(f:5/0/3(f:2/0/2)))"},
		{"two moments", compared([]stack{{frames("a", "main"), 5, 0}}, []stack{{frames("a", "main"), 2, 0}, {frames("b", "main"), 9, 0}}),
			"root:5/11/0(main:5/11/0(b:0/9/0 a:5/2/5))"},
		{"in between", between([]stack{{frames("a", "main"), 5, 0}, {frames("b", "main"), 5, 0}, {frames("a", "main"), 2, 0}}, []stack{{frames("a", "main"), 3, 0}, {frames("b", "main"), 9, 0}}),
			"root:4/0/0(main:4/0/0(a:4/0/4))"},
		{"no names", []stack{{[]record.Frame{{}, {Func: "main"}}, 1, 0}}, "root:1/0/0(main:1/0/0(unknown function:1/0/1))"},
		{"no stack", []stack{{nil, 1, 0}}, "root:1/0/1"},
	} {
		root, left := flame(tc.stacks)
		if got := show(root); got != tc.want || left != 0 {
			t.Errorf("%s: %s, %d left out, want %s", tc.name, got, left, tc.want)
		}
	}
}

// randomStacks are like those of a large program.
func randomStacks(rng *rand.Rand, n int) []stack {
	var out []stack
	for range n {
		var fs []record.Frame
		for range 1 + rng.IntN(30) {
			fs = append(fs, record.Frame{Func: fmt.Sprintf("f%d", rng.IntN(400)), File: "x.go", Line: rng.IntN(50)})
		}
		out = append(out, stack{fs, float64(rng.IntN(1000)), float64(rng.IntN(1000))})
	}
	return out
}

// check holds the tree to what a drawing of it relies on.
func check(t *testing.T, n *Node, depth int) (nodes int) {
	t.Helper()
	var value, base float64
	for i, c := range n.Children {
		value, base = value+c.Value, base+c.Base
		if i > 0 && max(c.Value, c.Base) > max(n.Children[i-1].Value, n.Children[i-1].Base) {
			t.Fatalf("%s: children are not in order", n.Name)
		}
		nodes += check(t, c, depth+1)
	}
	if value+n.Self > n.Value*(1+1e-9)+1e-9 || base > n.Base*(1+1e-9)+1e-9 || n.Self < 0 || depth > maxDepth || len(n.Name) > 3*maxName+3 { // what is cleaned may take three bytes where it took one
		t.Fatalf("%.80q at %d: %g with %g itself and %g below, base %g with %g below", n.Name, depth, n.Value, n.Self, value, n.Base, base)
	}
	return nodes + 1
}

func TestFlameBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	stacks := randomStacks(rng, 2000)
	root, left := flame(stacks)
	total, base := 0.0, 0.0
	for _, s := range stacks {
		total, base = total+s.value, base+s.base
	}
	if n := check(t, root, 0); n != maxNodes || left == 0 || root.Value != total || root.Base != base {
		t.Errorf("%d nodes, %d left out, %g and %g of %g and %g", n, left, root.Value, root.Base, total, base)
	}
	// The order in which a profile has its sites says nothing.
	rng.Shuffle(len(stacks), func(i, j int) { stacks[i], stacks[j] = stacks[j], stacks[i] })
	if again, _ := flame(stacks); !reflect.DeepEqual(root, again) {
		t.Error("another order of the same stacks gives another tree")
	}
	// What is hostile has its bounds.
	deep := make([]record.Frame, 10_000)
	for i := range deep {
		deep[i] = record.Frame{Func: fmt.Sprint("f", i), Line: -i}
	}
	root, _ = flame([]stack{{deep, 1, 0}, {frames(strings.Repeat("\x1b[31m", 10_000)), 1, 0}})
	check(t, root, 0)
}

func TestCounted(t *testing.T) {
	for v, want := range map[float64]float64{1: 1, 0: 0, -1: 0, 1e300: 0, math.Inf(1): 0, math.Inf(-1): 0} {
		if got := counted(v); got != want {
			t.Errorf("%v is counted as %v", v, got)
		}
	}
	if counted(math.NaN()) != 0 {
		t.Error("NaN is counted")
	}
}

func TestGroups(t *testing.T) {
	g := func(count int, reason string, stack ...string) record.GoroutineGroup {
		return record.GoroutineGroup{Count: count, Status: "waiting", WaitReason: reason, CreatedBy: record.Frame{Func: "main.main"}, Stack: frames(stack...)}
	}
	at := &record.Goroutines{Total: 117, Groups: []record.GoroutineGroup{g(100, "select", "a"), g(7, "IO wait", "b"), g(10, "select", "c")}}
	base := &record.Goroutines{Total: 25, Groups: []record.GoroutineGroup{g(10, "select", "a"), g(7, "IO wait", "b"), g(8, "sleep", "gone")}}
	out, left := groups(at, base)
	var got []string
	for _, x := range out {
		got = append(got, fmt.Sprintf("%s %d %d %+d", x.Stack[0].Func, x.Count, x.Base, x.Growth))
	}
	if want := []string{"a 100 10 +90", "c 10 0 +10", "b 7 7 +0", "gone 0 8 -8"}; !slices.Equal(got, want) || left != 0 {
		t.Errorf("got %q, want %q", got, want)
	}
	if out, _ := groups(at, nil); len(out) != 3 || out[0].Growth != 0 || out[0].Base != 0 {
		t.Errorf("with nothing to compare with: %+v", out)
	}
	many := &record.Goroutines{}
	for i := range 3 * maxGroups {
		many.Groups = append(many.Groups, g(i, fmt.Sprint(i)))
	}
	out, left = groups(many, nil)
	if len(out) != maxGroups || left != 2*maxGroups || out[0].Count != 3*maxGroups-1 {
		t.Errorf("%d groups, %d left out, the first of %d", len(out), left, out[0].Count)
	}
}

func BenchmarkFlame(b *testing.B) {
	stacks := randomStacks(rand.New(rand.NewPCG(1, 1)), 5000)
	for b.Loop() {
		flame(stacks)
	}
}
