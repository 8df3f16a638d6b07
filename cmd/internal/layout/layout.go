// Package layout knows where the fields of the Go runtime's own structures lie,
// and how to recognise the runtime's code, per Go release, GOEXPERIMENT and
// GOARCH.
//
// Its tables are generated from real toolchains (see tools/layouts) and
// committed compressed, a file for each minor release and GOARCH. The package
// looks things up; it never guesses: a release that is not in the tables is an
// [UnknownError], also when a neighbouring patch release is.
package layout

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"weak"

	"github.com/heapwright/heapwright/cmd/internal/fingerprint"
)

//go:embed tables
var tables embed.FS

// A Field is the place of a field within its structure, in bytes.
type Field struct {
	Off  uint32
	Size uint32
}

// A Layout is the set of structure layouts of one release. Names are the
// runtime's own, with nested fields dotted: "g.sched.sp", "mstats.pause_ns",
// "schedt.timeToRun". A structure's own size is under its bare name: "g".
type Layout struct {
	structs map[string]map[string][2]uint32
}

// Field returns the place of a field, and whether this release has it.
func (l *Layout) Field(name string) (Field, bool) {
	s, f, _ := strings.Cut(name, ".")
	v, ok := l.structs[s][f]
	return Field{v[0], v[1]}, ok
}

// Size returns the size of a structure in bytes, 0 when this release lacks it.
func (l *Layout) Size(name string) uint32 { return l.structs[name][""][1] }

// An Anchor is a function of the runtime that refers to globals: where a target
// has a function of this name and this fingerprint, the references that Refs
// names point to the globals that Refs names.
type Anchor struct {
	Func string
	Size uint32 // bytes of code
	Hash uint64 // fingerprint.Print.Hash
	// Fields are all that the fingerprint masks.
	Fields []fingerprint.Field
	Refs   []Ref
}

// A Ref says that the reference at Fields[Index] is to Symbol+Addend.
type Ref struct {
	Index  int
	Symbol string
	Addend int64
}

// A Release is what is known of one (Go release, GOEXPERIMENT, GOARCH).
type Release struct {
	Version    string // "go1.26.8"
	Experiment string // as in GOEXPERIMENT, "" is the default
	GOARCH     string
	Layout     *Layout
	Anchors    []Anchor
}

// An UnknownError says that the tables do not hold a release.
type UnknownError struct {
	Version, Experiment, GOARCH string
	Newest                      string // newest release in the tables for this GOARCH
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no tables for %s on %s", nameOf(e.Version, e.Experiment), e.GOARCH)
}

// Hint says what to do about it.
func (e *UnknownError) Hint() string {
	if e.GOARCH != "amd64" && e.GOARCH != "arm64" {
		return "supported are amd64 and arm64"
	}
	return fmt.Sprintf("supported are Go 1.20 to %s (heapwright version -v lists the releases); a newer heapwright may know it, or add it with: go run ./tools/layouts -add %s", strings.TrimPrefix(e.Newest, "go"), e.Version)
}

// neutral are the GOEXPERIMENTs that touch neither the runtime's structures nor
// its code (internal/goexperiment/flags.go): language, standard library and
// tool experiments.
var neutral = map[string]bool{
	"boringcrypto": true, "jsonv2": true, "loopvar": true, "rangefunc": true, "aliastypeparams": true,
	"coverageredesign": true, "simd": true, "newinliner": true, "dwarf5": true, "nodwarf5": true,
}

// ParseVersion splits a version as debug/buildinfo and the runtime give it, such
// as "go1.25.9 X:greenteagc" or, since Go 1.26, "go1.26.8-X:nogreenteagc", into
// release and experiments. Experiments that cannot matter to the runtime are left out.
func ParseVersion(s string) (version, experiment string) {
	version, list, _ := strings.Cut(s, " X:")
	if v, l, ok := strings.Cut(s, "-X:"); ok {
		version, list = v, l
	}
	var xs []string
	for e := range strings.SplitSeq(list, ",") {
		if e != "" && !neutral[e] {
			xs = append(xs, e)
		}
	}
	slices.Sort(xs)
	if version == "go1.20" {
		version = "go1.20.0"
	}
	return version, strings.Join(xs, ",")
}

// minor returns "1.26" for "go1.26.8", and whether version is that of a release.
func minor(version string) (string, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return "", false
	}
	m, p, ok := strings.Cut(rest, ".")
	if !ok || !digits(m) || !digits(p) {
		return "", false
	}
	return "1." + m, true
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil && s[0] != '+'
}

// Lookup returns what is known of a release, which all who look it up share and nobody
// may change; goVersion is as debug/buildinfo gives it. The error is an *UnknownError when the tables do not hold it.
func Lookup(goVersion, goarch string) (*Release, error) {
	version, experiment := ParseVersion(goVersion)
	unknown := func() error {
		return &UnknownError{Version: version, Experiment: experiment, GOARCH: goarch, Newest: Newest(goarch)}
	}
	m, ok := minor(version)
	if !ok || (goarch != "amd64" && goarch != "arm64") {
		return nil, unknown()
	}
	r, err := fileOf(m, goarch).release(nameOf(version, experiment))
	if r == nil && err == nil {
		err = unknown()
	}
	return r, err
}

// Releases lists what the tables hold for a GOARCH, oldest first, as "go1.26.8" or "go1.26.8 X:nogreenteagc".
func Releases(goarch string) []string {
	var all []string
	for m := 20; ; m++ {
		names, err := fileOf("1."+strconv.Itoa(m), goarch).releases()
		if err != nil || len(names) == 0 {
			return all
		}
		all = append(all, names...)
	}
}

// Newest returns the newest release in the tables for a GOARCH.
func Newest(goarch string) string {
	newest := ""
	for _, v := range Releases(goarch) {
		if !strings.Contains(v, " ") {
			newest = v
		}
	}
	return newest
}

// A Table is the content of one file: the releases of a minor version on one
// GOARCH. Releases share what is alike: a structure's distinct layouts and the
// distinct functions are listed once and referred to by index.
type Table struct {
	Minor     string                            `json:"go"`
	GOARCH    string                            `json:"goarch"`
	Structs   map[string][]map[string][2]uint32 `json:"structs"`
	Globals   []string                          `json:"globals"`
	Functions []TableFunc                       `json:"functions"`
	Releases  []TableRelease                    `json:"releases"`
}

// A TableFunc is an [Anchor]. Each of Fields is {bytes since the field before,
// bytes to the next instruction}; each of Refs is {index, index into Globals, addend}.
type TableFunc struct {
	Name   string      `json:"name"`
	Size   uint32      `json:"size"`
	Hash   uint64      `json:"hash"`
	Fields [][2]uint32 `json:"fields"`
	Refs   [][3]int64  `json:"refs"`
}

// A TableRelease selects from the shared lists.
type TableRelease struct {
	Version    string         `json:"version"`
	Experiment string         `json:"experiment,omitempty"`
	Structs    map[string]int `json:"structs"`
	Functions  []int          `json:"functions"`
}

func (r *TableRelease) name() string { return nameOf(r.Version, r.Experiment) }

// nameOf is a release with its experiments, as "go1.26.8 X:nogreenteagc".
func nameOf(version, experiment string) string {
	if experiment == "" {
		return version
	}
	return version + " X:" + experiment
}

func (t *Table) release(r TableRelease) *Release {
	out := &Release{Version: r.Version, Experiment: r.Experiment, GOARCH: t.GOARCH,
		Layout: &Layout{structs: make(map[string]map[string][2]uint32, len(r.Structs))}}
	for name, i := range r.Structs {
		out.Layout.structs[name] = t.Structs[name][i]
	}
	for _, i := range r.Functions {
		f := t.Functions[i]
		a := Anchor{Func: f.Name, Size: f.Size, Hash: f.Hash, Fields: make([]fingerprint.Field, len(f.Fields)), Refs: make([]Ref, len(f.Refs))}
		off := uint32(0)
		for k, d := range f.Fields {
			off += d[0]
			a.Fields[k] = fingerprint.Field{Off: off, Next: off + d[1]}
		}
		for k, ref := range f.Refs {
			a.Refs[k] = Ref{Index: int(ref[0]), Symbol: t.Globals[ref[1]], Addend: ref[2]}
		}
		out.Anchors = append(out.Anchors, a)
	}
	return out
}

// FileName is the name of the table of a minor release within the tables directory.
func FileName(minor, goarch string) string { return "go" + minor + "-" + goarch + ".json.gz" }

// A file is what is remembered of a table file. A table takes megabytes, and of each
// release in it is needed once, while a Release is shared by all who look it up and must
// not be changed.
type file struct {
	name string

	mu    sync.Mutex
	names []string // of the releases in it, nil when it was not read yet
	known map[string]*Release
	table weak.Pointer[Table] // while the garbage collector has left it
}

var files sync.Map // FileName -> *file

func fileOf(minor, goarch string) *file {
	name := FileName(minor, goarch)
	if f, ok := files.Load(name); ok {
		return f.(*file)
	}
	f := &file{name: name, known: map[string]*Release{}}
	if _, err := fs.Stat(tables, "tables/"+name); err != nil {
		return f // there is none: what a process says that it is is not remembered
	}
	kept, _ := files.LoadOrStore(name, f)
	return kept.(*file)
}

// read reads the table, nil when there is none.
func (f *file) read() (*Table, error) {
	if t := f.table.Value(); t != nil {
		return t, nil
	}
	r, err := tables.Open("tables/" + f.name)
	if err != nil {
		return nil, nil
	}
	defer r.Close()
	t, err := ReadTable(r)
	if err != nil {
		return nil, err
	}
	if f.names == nil {
		for _, r := range t.Releases {
			f.names = append(f.names, r.name())
		}
	}
	f.table = weak.Make(t)
	return t, nil
}

// releases are the names of those that the file has.
func (f *file) releases() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names == nil {
		if _, err := f.read(); err != nil {
			return nil, err
		}
	}
	return f.names, nil
}

// release returns one, nil when the file does not have it.
func (f *file) release(name string) (*Release, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.known[name]; r != nil {
		return r, nil
	}
	if f.names != nil && !slices.Contains(f.names, name) {
		return nil, nil
	}
	t, err := f.read()
	if t == nil {
		return nil, err
	}
	for _, r := range t.Releases {
		if r.name() == name {
			out := t.release(r)
			f.known[name] = out
			return out, nil
		}
	}
	return nil, nil
}

// ReadTable reads a table file.
func ReadTable(r io.Reader) (*Table, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("reading layout table: %w", err)
	}
	var t Table
	if err := json.NewDecoder(z).Decode(&t); err != nil {
		return nil, fmt.Errorf("reading layout table: %w", err)
	}
	return &t, nil
}

// Write writes the table file; equal tables give equal bytes.
func (t *Table) Write(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(z)
	if err := enc.Encode(t); err != nil {
		return fmt.Errorf("writing layout table: %w", err)
	}
	return z.Close()
}
