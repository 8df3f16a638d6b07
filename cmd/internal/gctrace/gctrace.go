// Package gctrace reads what the Go runtime prints to standard error under
// GODEBUG=gctrace=1,gcpacertrace=1,scavtrace=1, for Go 1.20 to 1.27.
//
// A [Splitter] takes these lines out of a program's standard error and lets
// everything else pass; a [Parser] makes cycles and samples of them. Neither
// starts a program, and what the trace does not say is not made up: numbers are
// as precise as it prints them. Durations have two significant digits, heap
// sizes are whole MiB rounded down, but for those that the pacer's line gives
// to the byte.
package gctrace

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Settings is what GODEBUG has to say for a full trace.
const Settings = "gctrace=1,gcpacertrace=1,scavtrace=1"

// Environ returns environ with the Settings added to GODEBUG. Asked reports
// whether the user had asked for a gctrace already, and so wants to see it.
func Environ(environ []string) (with []string, asked bool) {
	const name = "GODEBUG="
	with = slices.Clone(environ)
	value := ""
	with = slices.DeleteFunc(with, func(v string) bool {
		if strings.HasPrefix(v, name) {
			value = v[len(name):] // the last one counts
			return true
		}
		return false
	})
	for setting := range strings.SplitSeq(value, ",") {
		key, n, _ := strings.Cut(setting, "=")
		if key == "gctrace" {
			asked = n != "0" // the last one counts here too
		}
	}
	if value != "" {
		value += ","
	}
	return append(with, name+value+Settings), asked
}

// The lines of the trace, and the runtime function that prints each. In a
// pattern %u is an unsigned integer, %i an integer, %f a decimal fraction
// (mgc.go, itoaDiv and fmtNSAsMS), %e a float64 as print has it (print.go,
// printfloat; since Go 1.26 the shortest form). What is optional comes as
// several patterns.
var patterns = slices.Concat(
	// mgc.go, gcMarkTermination. Leak checking is there since Go 1.26.
	expand(gcLine, "gc %u @%fs %i%%", []string{"", " (checking for goroutine leaks)"}, ": %f+%f+%f ms clock, %f+%f/%f/%f+%f ms cpu, "+
		"%u->%u->%u MB, %u MB goal, %u MB stacks, %u MB globals, %u P", []string{"", " (forced)"}),
	// mgcpacer.go, startCycle and endCycle.
	expand(startLine, "pacer: assist ratio=%e (scan %u MB in %u->%u MB) workers=%i+%e", []string{""}, "", []string{""}),
	expand(pacerLine, "pacer: %i%% CPU (%u exp.) for %i+%i+%i B work (%u B exp.) in %u B -> %u B (∆goal %i, cons/mark %e)", []string{""}, "", []string{""}),
	// mgcsweep.go, sweepone.
	expand(otherLine, "pacer: sweep done at heap size %uMB; allocated %uMB during sweep; swept %u pages at %e pages/byte", []string{""}, "", []string{""}),
	// mgcscavenge.go, printScavTrace; Go 1.20 and since Go 1.21.
	expand(scavLine, "scav %u KiB work, %u KiB total, %u%% util", []string{"", " (forced)", " [controller reset]"}, "", []string{""}),
	expand(scavLine, "scav %u KiB work (bg), %u KiB work (eager), %u KiB now, %u%% util", []string{"", " (forced)", " [controller reset]"}, "", []string{""}),
	// proc.go, forcegchelper.
	expand(otherLine, "GC forced", []string{""}, "", []string{""}),
)

type kind uint8

const (
	otherLine kind = iota // of no use
	gcLine                // a cycle ended
	startLine             // a cycle starts
	pacerLine             // what the pacer saw of a cycle, just before its gcLine
	scavLine
)

type pattern struct {
	kind   kind
	text   string
	forced bool
}

func expand(k kind, a string, b []string, c string, d []string) []pattern {
	var all []pattern
	for _, b := range b {
		for _, d := range d {
			all = append(all, pattern{kind: k, text: a + b + c + d + "\n", forced: strings.HasSuffix(d, "(forced)")})
		}
	}
	return all
}

// maxNumbers is how many numbers a line can have.
const maxNumbers = 18

// A line is one line of the trace.
type line struct {
	pattern
	numbers [maxNumbers][]byte // as they stand in the line
}

// A result says how much of a pattern there is.
type result uint8

const (
	no    result = iota
	begun        // all of the bytes fit, and more are missing
	whole
)

// scan reports whether b is a line of the trace, with its newline, or the
// beginning of one. What comes after a line makes it no line.
func scan(b []byte, l *line) result {
	best := no
	for _, p := range patterns {
		switch p.match(b, &l.numbers) {
		case whole:
			l.pattern = p
			return whole
		case begun:
			best = begun
		}
	}
	return best
}

func (p *pattern) match(b []byte, numbers *[maxNumbers][]byte) result {
	text, count := p.text, 0
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || text[i+1] == '%' {
			if text[i] == '%' {
				i++
			}
			if len(b) == 0 {
				return begun
			}
			if b[0] != text[i] {
				return no
			}
			b = b[1:]
			continue
		}
		i++
		n, done := number(text[i], b)
		if !done {
			return no
		}
		if n == len(b) {
			return begun // maybe not all of its digits
		}
		if n == 0 || !inRange(text[i], b[:n]) {
			return no
		}
		numbers[count] = b[:n]
		count++
		b = b[n:]
	}
	if len(b) > 0 {
		return no
	}
	return whole
}

// number returns how many bytes at the start of b may be of a number of the
// given verb. It is not ok when they are too many for any number.
func number(verb byte, b []byte) (n int, ok bool) {
	chars := "0123456789"
	switch verb {
	case 'i':
		chars = "-0123456789"
	case 'f':
		chars = ".0123456789"
	case 'e':
		chars = "+-.e0123456789NaInf"
	}
	const longest = 25 // -1.7976931348623157e+308
	for n < len(b) && strings.IndexByte(chars, b[n]) >= 0 {
		if n++; n > longest {
			return n, false
		}
	}
	return n, true
}

// inRange reports whether b is a number of the given verb, as it is printed by
// the runtime.
func inRange(verb byte, b []byte) bool {
	var err error
	switch verb {
	case 'u':
		_, err = strconv.ParseUint(string(b), 10, 64)
	case 'i':
		_, err = strconv.ParseInt(string(b), 10, 64)
	default:
		_, err = strconv.ParseFloat(string(b), 64)
	}
	return err == nil
}

// A Parser makes cycles and samples of the lines of one process's trace.
type Parser struct {
	start time.Time
	last  uint64 // the last cycle
	gaps  bool   // not every cycle was seen, so that nothing can be summed up
	mixed bool

	// Of lines since the last cycle.
	pacer       pacer
	hasPacer    bool
	released    uint64
	hasReleased bool

	sum record.Sample // of the cumulative fields
}

// A pacer holds what a pacerLine says, to the byte.
type pacer struct {
	stack, globals, trigger, live, goal uint64
}

// NewParser returns a Parser for a process that was started at the given time:
// the trace counts from there, in milliseconds.
func NewParser(start time.Time) *Parser { return &Parser{start: start} }

// A Cycle is what the trace tells at the end of a GC cycle.
type Cycle struct {
	record.Cycle
	// Sample is the state then: the cycle count, GOMAXPROCS, the marked heap,
	// released memory where a scavenger's line told it, and the sums of pauses
	// and CPU time, which are there as long as no cycle was lost.
	Sample record.Sample
	// Lost is how many cycles before this one the trace has no line of, because
	// the program's own output was mixed into it.
	Lost uint64
}

// Line takes the next line of the trace. It reports whether it ended a cycle,
// and then fills c. What is not a line of the trace is ignored.
func (p *Parser) Line(b []byte, c *Cycle) bool {
	if !bytes.HasSuffix(b, []byte("\n")) {
		b = append(slices.Clip(b), '\n')
	}
	var l line
	if p.mixed || scan(b, &l) != whole {
		return false
	}
	switch l.kind {
	case startLine:
		p.hasPacer = false
	case pacerLine:
		p.hasPacer = p.pacer.parse(&l)
	case scavLine:
		now := 1
		if strings.Contains(l.text, "(eager)") {
			now = 2
		}
		kib := l.uint(now)
		p.released, p.hasReleased = kib<<10, kib < 1<<50
	case gcLine:
		return p.cycle(&l, c)
	}
	return false
}

// Mixed reports whether cycles came in a wrong order. Then the trace is of more
// than one process, for GODEBUG is inherited, and nobody can tell whose line is
// whose: from the first such line on, none is believed.
func (p *Parser) Mixed() bool { return p.mixed }

func (l *line) uint(i int) uint64 {
	v, _ := strconv.ParseUint(string(l.numbers[i]), 10, 64) // scan has tried it
	return v
}

func (l *line) int(i int) int64 {
	v, _ := strconv.ParseInt(string(l.numbers[i]), 10, 64)
	return v
}

// parse reads a pacerLine; it reports whether its numbers can be true.
func (p *pacer) parse(l *line) bool {
	stack, globals := l.int(3), l.int(4)
	over := l.int(8) // by how much the goal was missed
	*p = pacer{stack: uint64(stack), globals: uint64(globals), trigger: l.uint(6), live: l.uint(7)}
	p.goal = p.live - uint64(over)
	return stack >= 0 && globals >= 0 && p.live < 1<<62 && over > -1<<62 && over <= int64(p.live)
}

// cycle fills c from a gcLine.
func (p *Parser) cycle(l *line, c *Cycle) bool {
	var ns [9]time.Duration // @, three of the clock, five of CPU time
	for i, at := range [...]int{1, 3, 4, 5, 6, 7, 8, 9, 10} {
		unit := 1e6 // the trace has milliseconds
		if at == 1 {
			unit = 1e9
		}
		v, _ := strconv.ParseFloat(string(l.numbers[at]), 64)
		if v*unit >= math.MaxInt64/16 {
			return false // centuries
		}
		ns[i] = time.Duration(math.Round(v * unit))
	}
	var mib [6]uint64 // heap at the start, at the end, marked; goal, stacks, globals
	for i := range mib {
		if mib[i] = l.uint(11 + i); mib[i] >= 1<<43 {
			return false
		}
	}
	procs := l.uint(17)
	if procs > math.MaxInt32 {
		return false
	}

	n := l.uint(0)
	if n <= p.last {
		p.mixed = true
		return false
	}
	*c = Cycle{Cycle: record.Cycle{
		N: n, Detail: true, Forced: l.forced,
		End:              p.start.Add(ns[0] + ns[1] + ns[2] + ns[3]),
		Pause:            ns[1] + ns[3],
		SweepTermination: ns[1], Mark: ns[2], MarkTermination: ns[3],
		HeapStartBytes: mib[0] << 20, HeapEndBytes: mib[1] << 20, HeapMarkedBytes: mib[2] << 20,
		HeapGoalBytes: mib[3] << 20, StackScanBytes: mib[4] << 20, GlobalsScanBytes: mib[5] << 20,
		Assist: ns[5], Dedicated: ns[6], Idle: ns[7],
		Procs: int(procs),
	}}
	// The pacer's line has the same quantities to the byte. Where it does not
	// fit it belongs to another cycle.
	if x := p.pacer; p.hasPacer && x.trigger>>20 == mib[0] && x.live>>20 == mib[1] && x.goal>>20 == mib[3] && x.stack>>20 == mib[4] && x.globals>>20 == mib[5] {
		c.HeapStartBytes, c.HeapEndBytes, c.HeapGoalBytes = x.trigger, x.live, x.goal
		c.StackScanBytes, c.GlobalsScanBytes = x.stack, x.globals
	}
	p.hasPacer = false

	c.Lost = n - p.last - 1
	p.gaps = p.gaps || c.Lost > 0
	p.last = n

	s := &c.Sample
	*s = record.Sample{Time: c.End, Source: record.SourceGCTrace, GCCycles: n, GOMAXPROCS: int64(procs), HeapMarkedBytes: c.HeapMarkedBytes, LastGC: c.End}
	has := []record.Field{record.FieldGCCycles, record.FieldGOMAXPROCS, record.FieldLastGC}
	if c.HeapMarkedBytes > 0 { // 0 MB is less than one, not nothing
		has = append(has, record.FieldHeapMarkedBytes)
	}
	if p.hasReleased {
		s.HeapReleasedBytes = p.released
		has = append(has, record.FieldHeapReleasedBytes)
		p.hasReleased = false
	}
	if !p.gaps {
		if l.forced {
			p.sum.GCForced++
		}
		p.sum.PauseTotal += c.Pause
		p.sum.CPUGCPause += ns[4] + ns[8]
		p.sum.CPUGCAssist += c.Assist
		p.sum.CPUGCDedicated += c.Dedicated
		p.sum.CPUGCIdle += c.Idle
		s.GCForced, s.PauseTotal, s.CPUGCPause = p.sum.GCForced, p.sum.PauseTotal, p.sum.CPUGCPause
		s.CPUGCAssist, s.CPUGCDedicated, s.CPUGCIdle = p.sum.CPUGCAssist, p.sum.CPUGCDedicated, p.sum.CPUGCIdle
		s.CPUGCTotal = s.CPUGCPause + s.CPUGCAssist + s.CPUGCDedicated + s.CPUGCIdle
		has = append(has, record.FieldGCForced, record.FieldPauseTotal, record.FieldCPUGCPause, record.FieldCPUGCAssist,
			record.FieldCPUGCDedicated, record.FieldCPUGCIdle, record.FieldCPUGCTotal)
	}
	for _, f := range has {
		s.Has.Add(f)
	}
	return true
}
