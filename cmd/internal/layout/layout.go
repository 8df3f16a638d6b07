// Package layout knows where the fields of the Go runtime's own structures lie,
// per Go release, GOEXPERIMENT and GOARCH, and how to recognise the runtime's
// code. Its tables are generated from real toolchains; it never guesses.
package layout

// A Field is the place of a field within its structure, in bytes.
type Field struct {
	Off  uint32
	Size uint32
}

// A Layout is the set of structure layouts of one (Go release, GOEXPERIMENT, GOARCH).
// Names are the runtime's own, with nested fields dotted: "g.sched.sp",
// "mstats.pause_ns", "schedt.timeToRun". A structure's own size is under its
// bare name: "g".
type Layout struct {
	fields map[string]Field
}

// Field returns the place of a field, and whether this release has it.
func (l *Layout) Field(name string) (Field, bool) {
	f, ok := l.fields[name]
	return f, ok
}

// Size returns the size of a structure in bytes, 0 when this release lacks it.
func (l *Layout) Size(name string) uint32 { return l.fields[name].Size }
