package scrape

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
)

// maxGoroutines is more than a process can have.
const maxGoroutines = 1 << 31

// A grouper puts goroutines that share everything into one group.
type grouper struct {
	groups []record.GoroutineGroup
	index  map[string]int
}

func newGrouper() *grouper { return &grouper{index: map[string]int{}} }

func (b *grouper) add(g record.GoroutineGroup) {
	var key strings.Builder
	fmt.Fprintf(&key, "%s\x00%s\x00%v\x00", g.Status, g.WaitReason, g.CreatedBy)
	for _, k := range slices.Sorted(maps.Keys(g.Labels)) {
		fmt.Fprintf(&key, "%q=%q", k, g.Labels[k])
	}
	key.WriteString(stackKey(g.Stack))
	i, ok := b.index[key.String()]
	if !ok {
		b.index[key.String()] = len(b.groups)
		b.groups = append(b.groups, g)
		return
	}
	b.groups[i].Count += g.Count
	b.groups[i].WaitMax = max(b.groups[i].WaitMax, g.WaitMax)
}

// goroutines returns the groups, the largest first.
func (b *grouper) goroutines() *record.Goroutines {
	g := &record.Goroutines{Groups: b.groups}
	if g.Groups == nil {
		g.Groups = []record.GoroutineGroup{}
	}
	for _, group := range b.groups {
		g.Total += group.Count
	}
	slices.SortStableFunc(g.Groups, func(a, b record.GoroutineGroup) int { return cmp.Compare(b.Count, a.Count) })
	return g
}

// statuses are the runtime's words for what a goroutine does when it does not
// wait (runtime/traceback.go, gStatusStrings). Any other word is a wait reason.
var statuses = map[string]bool{"idle": true, "runnable": true, "running": true, "syscall": true, "waiting": true, "dead": true, "copystack": true, "preempted": true, "leaked": true}

// parseGoroutines parses what runtime.Stack prints for all goroutines
// (runtime/traceback.go, goroutineheader and traceback):
//
//	goroutine 7 [chan receive, 5 minutes, locked to thread]:
//	main.wait(0xc000012345)
//		/src/main.go:12 +0x1d
//	created by main.main in goroutine 1
//		/src/main.go:10 +0x25
//
// separated by empty lines. Lines that are nothing of that are skipped, as
// "...additional frames elided..." is.
func parseGoroutines(text string) (*record.Goroutines, error) {
	if !strings.HasPrefix(text, "goroutine ") {
		return nil, errors.New("it is not a list of goroutines")
	}
	b := newGrouper()
	var g *record.GoroutineGroup
	add := func() {
		if g != nil {
			b.add(*g)
			g = nil
		}
	}
	var frame *record.Frame // whose position is on the next line
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "goroutine "):
			add()
			g, frame = goroutineHeader(line), nil
		case g == nil:
		case line == "":
			add()
			frame = nil
		case strings.HasPrefix(line, "\t"):
			if frame != nil {
				frame.File, frame.Line = position(line[1:])
				frame = nil
			}
		case strings.HasPrefix(line, "created by "):
			name := line[len("created by "):]
			if i := strings.LastIndex(name, " in goroutine "); i >= 0 {
				name = name[:i]
			}
			g.CreatedBy = record.Frame{Func: name}
			frame = &g.CreatedBy
		case strings.HasPrefix(line, "...") || strings.HasPrefix(line, "["):
			frame = nil // frames left out, or GODEBUG=tracebackancestors
		default:
			// The arguments are in the last parentheses.
			if i := strings.LastIndexByte(line, '('); i > 0 {
				line = line[:i]
			}
			g.Stack = append(g.Stack, record.Frame{Func: line})
			frame = &g.Stack[len(g.Stack)-1]
		}
	}
	add()
	return b.goroutines(), nil
}

// goroutineHeader parses the first line of a goroutine, nil when it is none.
func goroutineHeader(line string) *record.GoroutineGroup {
	_, rest, ok := strings.Cut(line, " [")
	state, _, closed := strings.Cut(rest, "]")
	if !ok || !closed || !strings.HasSuffix(line, ":") {
		return nil
	}
	// GODEBUG=tracebacklabels=1 puts the labels here in Go 1.26, and after the
	// bracket since Go 1.27.
	state, _, _ = strings.Cut(state, " labels:{")
	g := &record.GoroutineGroup{Count: 1}
	for i, part := range strings.Split(state, ", ") {
		part = strings.TrimSuffix(part, " (scan)")
		if i == 0 {
			part = strings.TrimSuffix(strings.TrimSuffix(part, " (durable)"), " (leaked)")
			if statuses[part] {
				g.Status = part
			} else {
				g.Status, g.WaitReason = "waiting", part
			}
			continue
		}
		if minutes, ok := strings.CutSuffix(part, " minutes"); ok {
			if n, err := strconv.ParseInt(minutes, 10, 32); err == nil && n > 0 {
				g.WaitMax = time.Duration(n) * time.Minute
			}
		}
	}
	return g
}

// position parses "/src/main.go:12 +0x1d".
func position(s string) (file string, line int) {
	if i := strings.LastIndex(s, " +0x"); i >= 0 {
		s = s[:i]
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0
	}
	line, err := strconv.Atoi(s[i+1:])
	if err != nil || line < 0 {
		return s, 0
	}
	return s[:i], line
}
