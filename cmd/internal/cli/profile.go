package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

type profileOptions struct {
	json bool
	kind string
	out  string
	top  int
	// enable switches the profile on for a while, where it is off.
	enable bool
	over   time.Duration
}

// A profileKind is a type of profile and the value of it that a top is about.
type profileKind struct {
	name  string
	value string // sample type in the pprof file
	what  string // what the value is, for the head of a table
}

var profileKinds = []profileKind{
	{"heap", "inuse_space", "in use"},
	{"allocs", "alloc_space", "allocated since the start"},
	{"goroutine", "goroutine", ""},
	{"block", "delay", "of blocking since the start"},
	{"mutex", "delay", "of waiting for others since the start"},
}

func profileKindNames() []string {
	names := make([]string, len(profileKinds))
	for i, k := range profileKinds {
		names[i] = k.name
	}
	return names
}

func profileCommand() command {
	var opt profileOptions
	return command{
		use:   "profile PID|NAME|URL",
		short: "a pprof file from a process that serves none",
		long: `
Takes a profile from outside and writes it as a pprof file: what the program's
own net/http/pprof would give, from one that does not have it. go tool pprof
opens it. Goroutines have their state and wait reason as labels.

--top shows the first functions (of goroutines: the places where they are) in
the terminal instead of a file. A heap profile is as of the last garbage
collection, as always in Go; block and mutex profiles exist only when the
program turned them on, and a heap profile unless it turned that off, or the
linker did because nothing in the program uses it.

--enable switches such a profile on, waits, takes it, and switches it off again,
also when heapwright dies. It writes one word into the process: that needs root,
or the process's own user. What is allocated before is not in the profile.`,
		example: `
  heapwright profile 4123
  heapwright profile 4123 --type goroutine -o goroutines.pb.gz
  heapwright profile api-server --type heap --top 20
  heapwright profile 4123 --type heap --enable --for 1m --top 20
  heapwright profile 4123 -o - | go tool pprof -top -`,
		args: exactly(1, "one process or URL"),
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.kind, "type", "t", "heap", strings.Join(profileKindNames(), ", "))
			f.StringVarP(&opt.out, "output", "o", "", "pprof `FILE` (- is stdout; default NAME-PID.TYPE.pb.gz)")
			f.BoolVar(&opt.enable, "enable", false, "switch a heap, allocs, block or mutex profile on for a while, where it is off")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("with --enable, collect this long (default %v)", defaultWindow))
			f.IntVar(&opt.top, "top", 0, "show the first `N` in the terminal, and write no file unless -o is given")
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"type": profileKindNames()},
		run: func(ctx context.Context, env Env, args arguments) error {
			return profileRun(ctx, env, opt, args)
		},
	}
}

// A profileDocument is what profile --json prints. Of the values of a site, those
// are there that the type of profile has.
type profileDocument struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	Type    string         `json:"type"`
	File    *string        `json:"file"` // null when none was written
	Samples int            `json:"samples"`

	TotalBytes   *int64   `json:"total_bytes,omitempty"`
	TotalSeconds *float64 `json:"total_seconds,omitempty"`
	TotalCount   *int64   `json:"total_count,omitempty"`

	Top        []topSite   `json:"top"`
	Goroutines []goroutine `json:"goroutines,omitempty"`
}

type topSite struct {
	Func        string   `json:"func"`
	FlatBytes   *int64   `json:"flat_bytes,omitempty"`
	CumBytes    *int64   `json:"cum_bytes,omitempty"`
	FlatSeconds *float64 `json:"flat_seconds,omitempty"`
	CumSeconds  *float64 `json:"cum_seconds,omitempty"`
	FlatRatio   float64  `json:"flat_ratio"`
	CumRatio    float64  `json:"cum_ratio"`

	flat, cum int64
}

type goroutine struct {
	Count          int      `json:"count"`
	Status         string   `json:"status"`
	WaitReason     *string  `json:"wait_reason"`
	WaitMaxSeconds *float64 `json:"wait_max_seconds"`
	At             string   `json:"at"`
	CreatedBy      *string  `json:"created_by"`
}

func profileRun(ctx context.Context, env Env, opt profileOptions, args arguments) error {
	i := slices.IndexFunc(profileKinds, func(k profileKind) bool { return k.name == opt.kind })
	if i < 0 {
		return oneOf("profile", "type", opt.kind, profileKindNames())
	}
	kind := profileKinds[i]
	switch {
	case opt.top < 0:
		return usagef("profile", "--top must not be negative")
	case opt.over < 0:
		return usagef("profile", "--for must not be negative")
	case opt.over > 0 && !opt.enable:
		return usagef("profile", "--for is about --enable: other profiles are of all that was collected so far")
	case opt.enable && samplings[kind.name] == "":
		return usagef("profile", "--enable is for heap, allocs, block and mutex: a %s profile needs none", kind.name)
	case opt.out == "-" && (opt.json || opt.top > 0):
		return usagef("profile", "stdout takes the profile or what is said of it, not both: give -o a file")
	}
	ref, err := parseTarget(ctx, env, append(args.targets, args.command...)[0], false)
	if err != nil {
		return err
	}
	t, err := ref.open(ctx, env)
	if err != nil {
		return err
	}
	defer t.Close()
	var raw bytes.Buffer
	write := func() error { return t.WriteProfile(ctx, kind.name, &raw) }
	if opt.enable {
		err = whileEnabled(ctx, env, opt, ref, write)
	} else if err = write(); samplings[kind.name] != "" && isOff(err) && ref.kind == targetPID {
		err = hinted(err, "heapwright profile %d --type %s --enable switches it on for a while", ref.pid, kind.name)
	}
	if err != nil {
		return err
	}
	if opt.out == "-" {
		_, err := env.Stdout.Write(raw.Bytes())
		return err
	}
	doc := profileDocument{Schema: schemaProfile, Process: t.Process(), Type: kind.name, Top: []topSite{}}
	if opt.out != "" || opt.top == 0 {
		file, err := saveProfile(opt.out, t.Process(), kind.name, raw.Bytes())
		if err != nil {
			return fmt.Errorf("saving the profile: %w", err)
		}
		doc.File = &file
	}
	if err := doc.fill(kind, raw.Bytes()); err != nil {
		return err
	}
	if kind.name == "goroutine" && (opt.top > 0 || opt.json) {
		if err := doc.fillGoroutines(t); err != nil {
			return err
		}
	}
	if opt.top > 0 {
		doc.Top = doc.Top[:min(opt.top, len(doc.Top))]
		doc.Goroutines = doc.Goroutines[:min(opt.top, len(doc.Goroutines))]
	}
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	return doc.print(env, kind, opt)
}

// saveProfile writes a pprof file. A name that the user did not choose never
// overwrites anything.
func saveProfile(name string, p record.Process, kind string, raw []byte) (string, error) {
	if name != "" {
		return name, os.WriteFile(name, raw, 0o666)
	}
	for n := 1; ; n++ {
		name = fmt.Sprintf("%s.%s.pb.gz", fileName(p), kind)
		if n > 1 {
			name = fmt.Sprintf("%s.%s-%d.pb.gz", fileName(p), kind, n)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err != nil {
			if os.IsExist(err) && n < 1000 {
				continue
			}
			return "", err
		}
		_, err = f.Write(raw)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return name, err
	}
}

// fill sums a profile up by function, as pprof's top does: flat is what the
// function did itself, cum also what it called.
func (d *profileDocument) fill(kind profileKind, raw []byte) error {
	p, err := profile.ParseData(raw)
	if err != nil {
		return fmt.Errorf("reading back the profile: %w", err)
	}
	column := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == kind.value })
	if column < 0 {
		column = len(p.SampleType) - 1
	}
	sites := map[string]*topSite{}
	site := func(name string) *topSite {
		s := sites[name]
		if s == nil {
			s = &topSite{Func: name}
			sites[name] = s
		}
		return s
	}
	var total int64
	seen := map[string]bool{}
	for _, s := range p.Sample {
		v := s.Value[column]
		total += v
		clear(seen)
		leaf := true
		for _, loc := range s.Location {
			for _, l := range loc.Line {
				name := "unknown function"
				if l.Function != nil && l.Function.Name != "" {
					name = l.Function.Name
				}
				if leaf {
					site(name).flat += v
					leaf = false
				}
				if !seen[name] {
					seen[name] = true
					site(name).cum += v
				}
			}
		}
	}
	d.Samples = len(p.Sample)
	for _, s := range sites {
		if s.cum == 0 {
			continue
		}
		if total != 0 {
			s.FlatRatio, s.CumRatio = float64(s.flat)/float64(total), float64(s.cum)/float64(total)
		}
		d.Top = append(d.Top, *s)
	}
	slices.SortFunc(d.Top, func(a, b topSite) int {
		return cmp.Or(cmp.Compare(b.flat, a.flat), cmp.Compare(b.cum, a.cum), strings.Compare(a.Func, b.Func))
	})
	seconds := func(ns int64) *float64 { s := float64(ns) / 1e9; return &s }
	for i := range d.Top {
		s := &d.Top[i]
		switch kind.name {
		case "heap", "allocs":
			s.FlatBytes, s.CumBytes = &s.flat, &s.cum
		case "block", "mutex":
			s.FlatSeconds, s.CumSeconds = seconds(s.flat), seconds(s.cum)
		}
	}
	switch kind.name {
	case "heap", "allocs":
		d.TotalBytes = &total
	case "block", "mutex":
		d.TotalSeconds = seconds(total)
	default:
		d.TotalCount = &total
		d.Top = []topSite{} // every goroutine that waits is in the scheduler: see Goroutines
	}
	return nil
}

// fillGoroutines says where goroutines are, for which a top by function is no
// use: all that wait do so in the same function of the runtime.
func (d *profileDocument) fillGoroutines(t Target) error {
	g, err := t.Goroutines()
	if err != nil {
		return err
	}
	type place struct{ status, reason, at, by string }
	sum := map[place]*goroutine{}
	for i := range g.Groups {
		group := &g.Groups[i]
		if group.System {
			continue
		}
		p := place{group.Status, group.WaitReason, rule.FrameString(whereabouts(group)), rule.FrameString(group.CreatedBy)}
		if group.CreatedBy == (record.Frame{}) {
			p.by = ""
		}
		s := sum[p]
		if s == nil {
			s = &goroutine{Status: p.status, WaitReason: nonZero(p.reason), At: p.at, CreatedBy: nonZero(p.by)}
			sum[p] = s
		}
		s.Count += group.Count
		if w := group.WaitMax.Seconds(); w > 0 && (s.WaitMaxSeconds == nil || w > *s.WaitMaxSeconds) {
			s.WaitMaxSeconds = &w
		}
	}
	d.Goroutines = []goroutine{}
	for _, s := range sum {
		d.Goroutines = append(d.Goroutines, *s)
	}
	slices.SortFunc(d.Goroutines, func(a, b goroutine) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.At, b.At), strings.Compare(a.Status, b.Status))
	})
	return nil
}

// whereabouts is the innermost frame that is not the runtime's own, or the
// innermost of all.
func whereabouts(g *record.GoroutineGroup) record.Frame {
	for _, f := range g.Stack {
		if !strings.HasPrefix(f.Func, "runtime.") && !strings.HasPrefix(f.Func, "internal/") && !strings.HasPrefix(f.Func, "sync.") && !strings.HasPrefix(f.Func, "time.") {
			return f
		}
	}
	if len(g.Stack) > 0 {
		return g.Stack[0]
	}
	return record.Frame{Func: "not known: it runs"}
}

func (d *profileDocument) print(env Env, kind profileKind, opt profileOptions) error {
	w := env.Stdout
	if d.File != nil {
		fmt.Fprintf(w, "%s: %s, %s; go tool pprof %s\n", term.Clean(*d.File), d.total(kind), plural(d.Samples, "stack"), term.Clean(*d.File))
	}
	if opt.top == 0 {
		return nil
	}
	if d.File == nil {
		fmt.Fprintf(w, "%s: %s\n", env.painter(w).Paint(term.Bold, term.Clean(d.Process.Name)), d.total(kind))
	}
	if kind.name == "goroutine" {
		return d.printGoroutines(env, w)
	}
	tab := texttab.Table{Columns: []texttab.Column{
		{Head: "FLAT", Right: true}, {Head: "FLAT%", Right: true}, {Head: "CUM", Right: true}, {Head: "CUM%", Right: true}, {Head: "FUNCTION", Min: 24},
	}}
	room := env.columns(w) - 36
	for _, s := range d.Top {
		tab.Text(s.amount(s.flat), percent(s.FlatRatio), s.amount(s.cum), percent(s.CumRatio), shortFunc(s.Func, room))
	}
	return tab.Write(w, env.columns(w), env.painter(w))
}

// total is what the whole profile comes to.
func (d *profileDocument) total(kind profileKind) string {
	switch {
	case d.TotalBytes != nil:
		return rule.FormatBytes(float64(*d.TotalBytes)) + " " + kind.what
	case d.TotalSeconds != nil:
		return rule.FormatSeconds(*d.TotalSeconds) + " " + kind.what
	}
	return plural(int(*d.TotalCount), "goroutine")
}

func (s *topSite) amount(v int64) string {
	if s.FlatSeconds != nil {
		return rule.FormatSeconds(float64(v) / 1e9)
	}
	return rule.FormatBytes(float64(v))
}

func (d *profileDocument) printGoroutines(env Env, w io.Writer) error {
	tab := texttab.Table{Columns: []texttab.Column{
		{Head: "COUNT", Right: true}, {Head: "STATE", Min: 12}, {Head: "WAIT", Right: true}, {Head: "AT", Min: 24}, {Head: "CREATED BY", Min: 20, Drop: 1},
	}}
	room := (env.columns(w) - 30) / 2
	for _, g := range d.Goroutines {
		state, wait, by := g.Status, "", ""
		if g.WaitReason != nil {
			state = *g.WaitReason
		}
		if g.WaitMaxSeconds != nil {
			wait = rule.FormatSeconds(*g.WaitMaxSeconds)
		}
		if g.CreatedBy != nil {
			by = shortFunc(*g.CreatedBy, room)
		}
		tab.Text(fmt.Sprint(g.Count), state, wait, shortFunc(g.At, room), by)
	}
	return tab.Write(w, env.columns(w), env.painter(w))
}

// shortFunc leaves out the path of a function's package, and of its file, when
// there is not the room for them: github.com/a/b.(*T).f becomes …/b.(*T).f.
func shortFunc(name string, room int) string {
	if room <= 0 || term.Width(name) <= room {
		return name
	}
	fn, file, hasFile := strings.Cut(name, " (")
	if i := strings.LastIndexByte(fn, '/'); i >= 0 {
		fn = "…" + fn[i:]
	}
	if hasFile {
		fn += " (" + path.Base(file)
	}
	return fn
}
