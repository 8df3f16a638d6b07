package cli

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/escape"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

type escapesOptions struct {
	observeOptions
	profile string
	base    string
	top     int
	tags    string
	json    bool
}

func escapesCommand() command {
	opt := escapesOptions{observeOptions: observeOptions{command: "escapes"}}
	return command{
		use:   "escapes [PACKAGES]",
		short: "the compiler's escape decisions, ranked by what they cost when the program runs",
		long: `
Compiles packages with -gcflags=-m=2, takes what was really allocated from a
heap profile, and joins the two by file and line: which values escape, why, and
how many bytes a second that is. Of the thousand escapes that a compiler lists,
a few lines are most of the garbage.

The profile is a pprof file, a recording, or a process that is watched for a
while (--profile); --base is an older file, to see what was allocated between.
Without one the compiler's decisions are listed as they are.

Where the two disagree, that is said: lines that allocate though the compiler
says that the value does not escape (it grows, or its size is known only when it
runs), lines that allocate without a word of the compiler, and lines that escape
and were not seen to allocate. A profile is a sample: of a line without samples
it is known only that it allocates little.

The source must be that of the program which was profiled. It may have been
built elsewhere, or with -trimpath.`,
		example: `
  heapwright escapes ./... --profile 4123
  heapwright escapes ./internal/api --profile heap.pb.gz --top 20
  heapwright escapes ./... --base before.pb.gz --profile after.pb.gz
  heapwright escapes ./... -p api.hwrec --json | jq '.lines[] | .agreement'`,
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.profile, "profile", "p", "", "a pprof file, a recording, or a process: `FILE|PID|NAME|URL`")
			f.StringVar(&opt.base, "base", "", "an older pprof `FILE` of the same process")
			f.IntVar(&opt.top, "top", 25, "how many lines to show; 0 for all")
			f.StringVar(&opt.tags, "tags", "", "build `TAGS`, as for go build")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch a process this long (default %v)", defaultWindow))
			f.StringVar(&opt.keep, "keep", "", "keep the recording of a process in `FILE`")
			lifeFlag(f, &opt.life)
			jsonFlag(f, &opt.json)
		},
		run: func(ctx context.Context, env Env, args arguments) error {
			return escapes(ctx, env, opt, args.targets)
		},
	}
}

// An escapesDocument is what escapes --json prints.
type escapesDocument struct {
	Schema    string   `json:"schema"`
	Packages  []string `json:"packages"`
	GoVersion string   `json:"go_version"` // of the compiler
	Measured  bool     `json:"measured"`
	// Seconds is null where nobody knows over which time it was measured; there are no
	// rates then.
	Seconds        *float64        `json:"seconds"`
	SinceStart     bool            `json:"since_start"`
	Process        *record.Process `json:"process"` // null for a pprof file
	TotalBytes     float64         `json:"total_bytes"`
	TotalObjects   float64         `json:"total_count"`
	InPackages     float64         `json:"in_packages_bytes"`
	Lines          []escapesLine   `json:"lines"`
	LinesNotSeen   int             `json:"not_seen_count"`
	LinesDisagree  int             `json:"disagree_count"`
	DisagreedBytes float64         `json:"disagreed_bytes"`
}

type escapesLine struct {
	File             string            `json:"file"`
	Line             int               `json:"line"`
	Func             *string           `json:"func"`
	Agreement        escape.Agreement  `json:"agreement"`
	Bytes            float64           `json:"bytes"`
	Objects          float64           `json:"count"`
	BytesPerSecond   *float64          `json:"bytes_per_second"`
	ObjectsPerSecond *float64          `json:"count_per_second"`
	Ratio            *float64          `json:"ratio"` // of all that was allocated
	Samples          *int64            `json:"samples"`
	Decisions        []escapesDecision `json:"decisions"`
	Callees          []escapesCallee   `json:"callees"`
	Allocates        []string          `json:"allocates"`
}

type escapesDecision struct {
	Verdict escape.Verdict `json:"verdict"`
	What    string         `json:"what"`
	Why     *string        `json:"why"`
	Column  int            `json:"column"`
}

type escapesCallee struct {
	Func  string  `json:"func"`
	Bytes float64 `json:"bytes"`
}

func escapes(ctx context.Context, env Env, opt escapesOptions, patterns []string) error {
	if err := opt.observeOptions.check(); err != nil {
		return err
	}
	switch {
	case opt.top < 0:
		return usagef("escapes", "--top must not be negative")
	case opt.base != "" && opt.profile == "":
		return usagef("escapes", "--base is the older of two profiles: give the newer with --profile")
	}
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	// What does not compile is not worth watching a process for.
	progress := env.progress()
	progress.Show("compiling " + term.Clean(strings.Join(patterns, " ")))
	compiled, err := escape.Compile(ctx, patterns, escape.Options{Tags: opt.tags})
	progress.Clear()
	if err != nil {
		return err
	}
	doc := &escapesDocument{Schema: schemaEscapes, GoVersion: compiled.GoVersion, Packages: []string{}, Lines: []escapesLine{}}
	for _, p := range compiled.Packages {
		doc.Packages = append(doc.Packages, p.ImportPath)
	}
	var measured escape.Measurement
	if opt.profile != "" {
		if measured, doc.Process, err = measuredAllocations(ctx, env, opt); err != nil {
			return err
		}
		doc.Measured, doc.SinceStart = true, measured.SinceStart
	}
	if p := doc.Process; p != nil && p.GoVersion != "" && p.GoVersion != compiled.GoVersion {
		env.warnf("the program was built by %s, and this is what %s decides; GOTOOLCHAIN=%s heapwright escapes asks the same compiler",
			p.GoVersion, compiled.GoVersion, p.GoVersion)
	}
	report := escape.Join(compiled.Decisions, measured.Allocations, compiled.Packages)
	report.Explain(escape.OpenFile)
	doc.fill(report, measured)
	if doc.Measured && doc.InPackages == 0 && doc.TotalBytes > 0 {
		env.warnf("nothing of the profile lies in %s: is this the program's source? ./... takes in all packages below", strings.Join(patterns, " "))
	}
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	return doc.print(env, opt)
}

// measuredAllocations are those of a pprof file, of a recording, or of a process
// that is watched now.
func measuredAllocations(ctx context.Context, env Env, opt escapesOptions) (escape.Measurement, *record.Process, error) {
	var none escape.Measurement
	p, err := readPprof(opt.profile)
	if err == nil {
		var base *profile.Profile
		if opt.base != "" {
			if base, err = readPprof(opt.base); err != nil {
				return none, nil, fmt.Errorf("reading %s: %w", opt.base, err)
			}
		}
		m, err := escape.FromPprof(p, base)
		return m, nil, err
	}
	if opt.base != "" {
		return none, nil, fmt.Errorf("reading %s: %w", opt.profile, err)
	}
	rec, err := observe(ctx, env, opt.observeOptions, opt.profile)
	if not := new(record.NotRecordingError); errors.As(err, &not) {
		return none, nil, hinted(fmt.Errorf("%s is neither a pprof file nor a recording", opt.profile),
			"heapwright profile PID --type allocs writes a pprof file")
	}
	if err != nil {
		return none, nil, err
	}
	m, ok := escape.FromRecording(rec)
	if !ok {
		return none, nil, hinted(fmt.Errorf("there is no heap profile of %s", cmp.Or(rec.Process.Name, opt.profile)),
			"it may be off in the program: heapwright profile PID --type allocs --enable -o FILE switches it on for a while")
	}
	return m, &rec.Process, nil
}

// maxPprof bounds what is read of a pprof file, in bytes, compressed and not.
const maxPprof = 256 << 20

func readPprof(path string) (*profile.Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPprof+1))
	if err != nil {
		return nil, err
	}
	return parsePprof(raw)
}

// parsePprof reads a profile. Package profile expands what is compressed without end.
func parsePprof(raw []byte) (*profile.Profile, error) {
	if z, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
		if raw, err = io.ReadAll(io.LimitReader(z, maxPprof+1)); err != nil {
			return nil, fmt.Errorf("expanding the profile: %w", err)
		}
	}
	if len(raw) > maxPprof {
		return nil, fmt.Errorf("the profile is larger than %s", rule.FormatBytes(maxPprof))
	}
	p, err := profile.ParseUncompressed(raw)
	if err != nil {
		return nil, err
	}
	return p, p.CheckValid()
}

func (d *escapesDocument) fill(r *escape.Report, m escape.Measurement) {
	d.TotalBytes, d.TotalObjects, d.InPackages = r.Bytes, r.Objects, r.Inside
	seconds := m.Span.Seconds()
	if seconds > 0 {
		d.Seconds = &seconds
	}
	rate := func(v float64) *float64 {
		if seconds <= 0 {
			return nil
		}
		v /= seconds
		return &v
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		line := escapesLine{
			File: l.File, Line: l.Line, Func: nonZero(l.Func), Agreement: l.Agreement, Bytes: l.Bytes, Objects: l.Objects, Samples: nonZero(l.Samples),
			Decisions: []escapesDecision{}, Callees: []escapesCallee{}, Allocates: append([]string{}, l.Allocates...),
		}
		if d.Measured {
			line.BytesPerSecond, line.ObjectsPerSecond = rate(l.Bytes), rate(l.Objects)
			if r.Bytes > 0 {
				share := l.Bytes / r.Bytes
				line.Ratio = &share
			}
		}
		for _, x := range l.Decisions {
			line.Decisions = append(line.Decisions, escapesDecision{x.Verdict, x.What, nonZero(x.Why), x.Column})
		}
		for _, c := range l.Callees {
			line.Callees = append(line.Callees, escapesCallee{c.Func, c.Bytes})
		}
		switch l.Agreement {
		case escape.Unseen:
			d.LinesNotSeen++
		case escape.Denied, escape.Silent:
			d.LinesDisagree++
			d.DisagreedBytes += l.Bytes
		}
		d.Lines = append(d.Lines, line)
	}
}

func (d *escapesDocument) print(env Env, opt escapesOptions) error {
	w := env.Stdout
	paint := env.painter(w)
	if !d.Measured {
		fmt.Fprintf(w, "%s in %s, by %s; --profile says which of them cost anything\n\n", paint.Paint(term.Bold, plural(len(d.Lines), "line")+" with escapes"),
			plural(len(d.Packages), "package"), d.GoVersion)
	} else {
		of := "a process"
		if d.Process != nil {
			of = term.Clean(d.Process.Name)
		}
		fmt.Fprintf(w, "%s by %s%s; %s of it in %s, or for it\n\n", paint.Paint(term.Bold, d.amount(d.TotalBytes)), of, d.over(),
			percent(ratioOf(d.InPackages, d.TotalBytes)), plural(len(d.Packages), "package"))
	}
	if err := d.table(env, opt.top, func(l *escapesLine) bool { return !d.Measured || l.Bytes > 0 }); err != nil {
		return err
	}
	if d.LinesDisagree > 0 {
		fmt.Fprintf(w, "\n%s, %s, where the compiler tells of no escape\n\n", paint.Paint(term.Bold, d.amount(d.DisagreedBytes)), plural(d.LinesDisagree, "line"))
		if err := d.disagreements(env, opt.top); err != nil {
			return err
		}
	}
	if d.Measured && d.LinesNotSeen > 0 {
		fmt.Fprintf(w, "\nEscapes in %s were not seen to allocate: they did not run, or seldom; --json lists them\n", plural(d.LinesNotSeen, "more line"))
	}
	return nil
}

// amount is a number of bytes, by the second where the time is known.
func (d *escapesDocument) amount(bytes float64) string {
	if d.Seconds == nil {
		return rule.FormatBytes(bytes) + " allocated"
	}
	return rule.FormatBytes(bytes / *d.Seconds) + "/s allocated"
}

func (d *escapesDocument) over() string {
	switch {
	case d.SinceStart && d.Seconds != nil:
		return " since it started, " + span(time.Duration(*d.Seconds*1e9)) + " ago"
	case d.SinceStart:
		return " since it started"
	case d.Seconds != nil:
		return " over " + span(time.Duration(*d.Seconds*1e9))
	}
	return ""
}

func ratioOf(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

func (d *escapesDocument) table(env Env, top int, choose func(*escapesLine) bool) error {
	tab := texttab.Table{}
	if d.Measured {
		head, objects := "BYTES", "OBJECTS"
		if d.Seconds != nil {
			head, objects = "BYTES/S", "OBJECTS/S"
		}
		tab.Columns = append(tab.Columns, texttab.Column{Head: head, Right: true}, texttab.Column{Head: objects, Right: true, Drop: 2}, texttab.Column{Head: "SHARE", Right: true})
	}
	tab.Columns = append(tab.Columns, texttab.Column{Head: "WHERE"}, texttab.Column{Head: "ESCAPES", Min: 20}, texttab.Column{Head: "BECAUSE", Min: 16, Drop: 1})
	shown := 0
	for i := range d.Lines {
		l := &d.Lines[i]
		if !choose(l) {
			continue
		}
		if top > 0 && shown == top {
			break
		}
		shown++
		var row []string
		if d.Measured {
			row = append(row, d.perSecond(l.Bytes, compactBytes), d.perSecond(l.Objects, countText), percent(*l.Ratio))
		}
		what, why := l.says()
		row = append(row, placeText(l.File, l.Line), what, why)
		tab.Text(row...)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

func (d *escapesDocument) perSecond(v float64, text func(float64) string) string {
	if d.Seconds != nil {
		v /= *d.Seconds
	}
	return text(v)
}

func countText(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.1fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 1e3:
		return fmt.Sprintf("%.1fk", v/1e3)
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// says is what the compiler says of a line, or else where it allocates.
func (l *escapesLine) says() (what, why string) {
	var parts []string
	for _, x := range l.Decisions {
		if x.Verdict == escape.Stays {
			continue
		}
		parts = append(parts, x.What)
		if why == "" && x.Why != nil {
			why = *x.Why
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, ", "), why
	}
	if len(l.Callees) > 0 && l.Agreement == escape.Elsewhere {
		return "in " + shortFunc(l.Callees[0].Func, 1), ""
	}
	return "none", ""
}

func (d *escapesDocument) disagreements(env Env, top int) error {
	tab := texttab.Table{Columns: []texttab.Column{{Head: "BYTES", Right: true}, {Head: "WHERE"}, {Head: "COMPILER", Min: 16}, {Head: "WHAT MAY ALLOCATE", Min: 20}}}
	if d.Seconds != nil {
		tab.Columns[0].Head = "BYTES/S"
	}
	shown := 0
	for i := range d.Lines {
		l := &d.Lines[i]
		if l.Agreement != escape.Denied && l.Agreement != escape.Silent {
			continue
		}
		if top > 0 && shown == top {
			break
		}
		shown++
		said := "says nothing"
		if l.Agreement == escape.Denied {
			said = l.Decisions[0].What + " does not escape"
		}
		may := strings.Join(l.Allocates, "; ")
		if may == "" && len(l.Callees) > 0 {
			may = "in " + shortFunc(l.Callees[0].Func, 1)
		}
		tab.Text(d.perSecond(l.Bytes, compactBytes), placeText(l.File, l.Line), said, may)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// placeText is a place in a source file, seen from where the user is; elsewhere it
// is the file and its directory.
func placeText(file string, line int) string {
	wd, err := os.Getwd()
	if err == nil {
		var rel string
		if rel, err = filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, "..") {
			return fmt.Sprintf("%s:%d", rel, line)
		}
	}
	return fmt.Sprintf("%s:%d", filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)), line)
}
