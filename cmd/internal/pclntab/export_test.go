package pclntab

// What tests see of the insides.
const (
	MaxPages       = maxPages
	MaxInlineDepth = maxInlineDepth
)

var PrintName = func(version, name string) string { return printNameFor(version)(name) }

func (t *Table) FileLine(f *Func, pc uint64) (string, int) { return t.fileLine(f, pc) }

func (t *Table) PagesKept() int { return len(t.p.pages) }

func (f Func) HasName() bool { return f.nameOff != 0 }

func (t *Table) WrapperID() uint8 { return t.special().wrapper }
