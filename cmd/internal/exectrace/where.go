package exectrace

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/exp/trace"

	"github.com/heapwright/heapwright/record"
)

// deepest is how many frames the runtime records of a stack
// (runtime/tracestack.go, traceStackSize): of a deeper one the root is not known.
const deepest = 128

// keptFrames bounds what is kept of a stack.
const keptFrames = 24

// A where is a stack, in terms that outlive its generation.
type where struct {
	frames []record.Frame // without the runtime's own at the leaf, if others are left
	root   string         // the function that the goroutine was started with, if known
	key    string
}

// user is the leaf-most frame that is not the runtime's.
func (w *where) user() record.Frame {
	if len(w.frames) == 0 {
		return record.Frame{}
	}
	return w.frames[0]
}

// An interner keeps one of each where.
type interner struct {
	byKey map[string]*where
}

// maxWheres bounds the stacks that are kept.
const maxWheres = 1 << 14

func newInterner() *interner { return &interner{byKey: map[string]*where{}} }

// where returns what is kept of a stack, nil for none.
func (c *collector) where(s trace.Stack) *where {
	if s == trace.NoStack {
		return nil
	}
	if w, ok := c.stacks[s]; ok {
		return w
	}
	w := c.wheres.intern(s)
	c.stacks[s] = w
	return w
}

func (in *interner) intern(s trace.Stack) *where {
	var all []record.Frame
	for f := range s.Frames() {
		if len(all) == deepest {
			break
		}
		all = append(all, record.Frame{Func: f.Func, File: f.File, Line: int(min(f.Line, 1<<31-1))})
	}
	if len(all) == 0 {
		return nil
	}
	root := all[len(all)-1].Func
	if len(all) == deepest {
		root = ""
	}
	if i := slices.IndexFunc(all, func(f record.Frame) bool { return !internal(f.Func) && !runtimeFile(f.File) }); i > 0 {
		all = all[i:]
	}
	all = slices.Clone(all[:min(len(all), keptFrames)])
	var b strings.Builder
	b.WriteString(root)
	for _, f := range all {
		b.WriteByte(0)
		b.WriteString(f.Func)
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(f.Line))
	}
	key := b.String()
	if w := in.byKey[key]; w != nil {
		return w
	}
	w := &where{frames: all, root: root, key: key}
	if len(in.byKey) < maxWheres {
		in.byKey[key] = w
	}
	return w
}

// internal reports whether a function is one of the runtime's own, below which the
// program's begins.
func internal(name string) bool {
	return strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "internal/runtime/")
}

// runtimeFile reports whether a file is one of package runtime, which has functions
// of other packages too: time.Sleep.
func runtimeFile(path string) bool {
	return strings.HasPrefix(path, "runtime/") || strings.Contains(path, "/src/runtime/")
}

// system reports whether a goroutine that was started with a function is one of the
// runtime's own. Those that run finalizers and cleanups run code of the program.
func system(root string) bool {
	switch root {
	case "runtime.main", "runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups":
		return false
	}
	return internal(root)
}
