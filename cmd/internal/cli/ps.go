package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

type psOptions struct {
	json bool
	all  bool
	sort string
	over time.Duration
}

// psSort are the orders of the rows, and which way round each is.
var psSort = map[string]func(a, b *psRow) int{
	"rss":        descending(func(r *psRow) float64 { return value(r.RSSBytes) }),
	"live":       descending(func(r *psRow) float64 { return value(r.HeapLiveBytes) }),
	"goal":       descending(func(r *psRow) float64 { return value(r.HeapGoalBytes) }),
	"limit":      descending(func(r *psRow) float64 { return value(r.CgroupLimitBytes) }),
	"gc-cpu":     descending(func(r *psRow) float64 { return value(r.GCCPURatio) }),
	"gc-cycles":  descending(func(r *psRow) float64 { return value(r.GCCycles) }),
	"goroutines": descending(func(r *psRow) float64 { return value(r.Goroutines) }),
	"finding":    descending(func(r *psRow) float64 { return severityRank(r.Findings) }),
	"name":       func(a, b *psRow) int { return strings.Compare(a.Name, b.Name) },
	"pid":        func(a, b *psRow) int { return cmp.Compare(a.PID, b.PID) },
}

var psSortNames = []string{"rss", "live", "goal", "limit", "gc-cpu", "gc-cycles", "goroutines", "finding", "name", "pid"}

func psCommand() command {
	var opt psOptions
	return command{
		use:   "ps [NAME...]",
		short: "every Go process here: heap, limit, GC CPU, worst finding",
		long: `
Lists the Go processes of this machine, one a row. NAME shows only those whose
name, module or main package contains it, or matches it as a shell pattern.

LIVE is what the last GC cycle found alive and what was allocated since; GOAL is
the heap size at which the running or next cycle is to be done. GC CPU is the
collector's share of the time the program's processors were busy: since the
start of the process, or over a window with --for. FINDING is the worst thing
that the settings alone show; heapwright diagnose looks deeper. A narrow
terminal has fewer columns: what goes to a pipe or --json has them all.

A process that cannot be read keeps its row, with the reason below the table.
Processes of other users may need root.`,
		example: `
  heapwright ps
  heapwright ps nats etcd
  heapwright ps --for 5s --sort gc-cpu
  heapwright ps --json | jq '.processes[] | select(.gc_cpu_ratio > 0.1) | .pid'`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVarP(&opt.all, "all", "a", false, "also heapwright itself, and processes that may or may not be Go")
			f.StringVar(&opt.sort, "sort", "rss", "order by "+strings.Join(psSortNames, ", "))
			f.DurationVar(&opt.over, "for", 0, "measure GC CPU over this long instead of since the start")
			jsonFlag(f, &opt.json)
		},
		completeFlags: map[string][]string{"sort": psSortNames},
		run: func(ctx context.Context, env Env, args arguments) error {
			return ps(ctx, env, opt, append(args.targets, args.command...))
		},
	}
}

// A psRow is one process as --json has it. A quantity that is not known is null.
type psRow struct {
	PID           int     `json:"pid"`
	Name          string  `json:"name"`
	Exe           *string `json:"exe"`
	Module        *string `json:"module"`
	ModuleVersion *string `json:"module_version"`
	MainPackage   *string `json:"main_package"`
	GoVersion     *string `json:"go_version"`
	Stripped      bool    `json:"stripped"`
	PIE           bool    `json:"pie"`
	Cgo           bool    `json:"cgo"`
	Race          bool    `json:"race"`
	User          *string `json:"user"`
	ContainerID   *string `json:"container_id"`
	PodUID        *string `json:"pod_uid"`

	UptimeSeconds    *float64  `json:"uptime_seconds"`
	CgroupLimitBytes *uint64   `json:"cgroup_limit_bytes"`
	CPUQuotaCores    *float64  `json:"cpu_quota_cores"`
	RSSBytes         *uint64   `json:"rss_bytes"`
	RSSPeakBytes     *uint64   `json:"rss_peak_bytes"`
	HeapLiveBytes    *uint64   `json:"heap_live_bytes"`
	HeapGoalBytes    *uint64   `json:"heap_goal_bytes"`
	GOGCPercent      *int64    `json:"gogc_percent"`
	GOMEMLIMITBytes  *int64    `json:"gomemlimit_bytes"`
	GOMAXPROCS       *int64    `json:"gomaxprocs"`
	GCCycles         *uint64   `json:"gc_cycles"`
	GCCPURatio       *float64  `json:"gc_cpu_ratio"`
	WindowSeconds    *float64  `json:"gc_cpu_window_seconds"`
	Goroutines       *int64    `json:"goroutines"`
	Findings         []psBrief `json:"findings"`
	Error            *string   `json:"error"`
	Hint             *string   `json:"hint"`
}

// A psBrief is a finding in one line.
type psBrief struct {
	ID       string            `json:"id"`
	Severity diagnose.Severity `json:"severity"`
	Title    string            `json:"title"`
}

type psDocument struct {
	Schema    string   `json:"schema"`
	Processes []*psRow `json:"processes"`
	// Hidden is how many processes could not even be told to be Go or not.
	Hidden int `json:"hidden"`
}

func value[T ~int64 | ~uint64 | ~float64](p *T) float64 {
	if p == nil {
		return -1
	}
	return float64(*p)
}

func descending(f func(*psRow) float64) func(a, b *psRow) int {
	return func(a, b *psRow) int { return cmp.Compare(f(b), f(a)) }
}

func severityRank(findings []psBrief) float64 {
	if len(findings) == 0 {
		return -1
	}
	return float64(findings[0].Severity)
}

func ps(ctx context.Context, env Env, opt psOptions, names []string) error {
	if err := oneOf("ps", "sort", opt.sort, psSortNames); err != nil {
		return err
	}
	if opt.over < 0 {
		return usagef("ps", "--for must not be negative")
	}
	for _, n := range names {
		if _, err := path.Match(n, ""); err != nil {
			return usagef("ps", "%q is not a pattern: %s", n, err)
		}
	}
	entries, err := env.Host.Processes(ctx)
	if err != nil {
		return err
	}
	doc := psDocument{Schema: schemaPS, Processes: []*psRow{}}
	entries = slices.DeleteFunc(entries, func(e goproc.Entry) bool {
		switch {
		case len(names) > 0 && !matchesAny(e.Process, names):
			return true
		case opt.all:
			return false
		case e.Err != nil && !e.IsGo:
			doc.Hidden++
			return true
		}
		return e.Process.PID == os.Getpid()
	})
	doc.Processes = psRead(ctx, env, opt, entries)
	order := psSort[opt.sort]
	slices.SortFunc(doc.Processes, func(a, b *psRow) int {
		return cmp.Or(order(a, b), cmp.Compare(a.PID, b.PID))
	})
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	return psPrint(env, doc, names)
}

// matchesAny reports whether a process is one of those asked for.
func matchesAny(p record.Process, names []string) bool {
	for _, n := range names {
		for _, s := range []string{p.Name, p.Module, p.MainPackage} {
			if s == "" {
				continue
			}
			if ok, _ := path.Match(n, s); ok || strings.Contains(s, n) {
				return true
			}
		}
	}
	return false
}

// psRead reads all processes, a few at a time: attaching is reading files, which
// waits, and locating globals, which computes.
func psRead(ctx context.Context, env Env, opt psOptions, entries []goproc.Entry) []*psRow {
	rows := make([]*psRow, len(entries))
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	if opt.over > 0 {
		// All windows are to be open at the same time.
		slots = make(chan struct{}, max(len(entries), 1))
	}
	var wg sync.WaitGroup
	for i, e := range entries {
		rows[i] = newPSRow(e)
		if e.Err != nil {
			continue
		}
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			switch err := psReadOne(ctx, env, opt, rows[i], e); {
			case err == nil:
			case process.IsEnded(err):
				rows[i] = nil // it is not here any more
			default:
				rows[i].fail(err)
			}
		}()
	}
	wg.Wait()
	return slices.DeleteFunc(rows, func(r *psRow) bool { return r == nil })
}

func newPSRow(e goproc.Entry) *psRow {
	p := e.Process
	r := &psRow{
		PID: p.PID, Name: p.Name, Exe: nonZero(p.Exe), Module: nonZero(p.Module), ModuleVersion: nonZero(p.ModuleVersion),
		MainPackage: nonZero(p.MainPackage), GoVersion: nonZero(p.GoVersion), Stripped: p.Stripped, PIE: p.PIE, Cgo: p.Cgo, Race: p.Race,
		User: nonZero(p.User), ContainerID: nonZero(p.ContainerID), PodUID: nonZero(p.PodUID),
		UptimeSeconds: nonZero(e.Uptime.Seconds()), CgroupLimitBytes: nonZero(p.MemoryLimitBytes), CPUQuotaCores: nonZero(p.CPUQuotaCores),
		RSSBytes: nonZero(e.RSS), RSSPeakBytes: nonZero(e.RSSPeak), Findings: []psBrief{},
	}
	if e.Err != nil {
		r.fail(e.Err)
	}
	return r
}

func (r *psRow) fail(err error) {
	text := oneLine(err.Error())
	r.Error = &text
	if h := hintOf(err); h != "" {
		h = oneLine(h)
		r.Hint = &h
	}
}

func psReadOne(ctx context.Context, env Env, opt psOptions, r *psRow, e goproc.Entry) error {
	t, err := env.Host.Attach(ctx, e.Process.PID)
	if err != nil {
		return err
	}
	defer t.Close()
	var zero, first, s record.Sample
	if err := t.Sample(&s); err != nil {
		return err
	}
	samples := []record.Sample{s}
	from := &zero
	if opt.over > 0 {
		first, from = s, &first
		select {
		case <-ctx.Done():
		case <-time.After(opt.over):
		}
		if err := t.Sample(&s); err != nil {
			return err
		}
		samples = append(samples, s)
	}
	r.HeapLiveBytes = known(&s, record.FieldHeapLiveBytes, s.HeapLiveBytes)
	r.HeapGoalBytes = known(&s, record.FieldHeapGoalBytes, s.HeapGoalBytes)
	r.GOGCPercent = known(&s, record.FieldGOGCPercent, s.GOGCPercent)
	r.GOMEMLIMITBytes = known(&s, record.FieldGOMEMLIMITBytes, s.GOMEMLIMITBytes)
	r.GOMAXPROCS = known(&s, record.FieldGOMAXPROCS, s.GOMAXPROCS)
	r.GCCycles = known(&s, record.FieldGCCycles, s.GCCycles)
	r.Goroutines = known(&s, record.FieldGoroutines, s.Goroutines)
	if rss := known(&s, record.FieldRSSBytes, s.RSSBytes); rss != nil {
		r.RSSBytes = rss
	}
	if peak := known(&s, record.FieldRSSPeakBytes, s.RSSPeakBytes); peak != nil {
		r.RSSPeakBytes = peak
	}
	if ratio, _, ok := view.GCShare(from, &s); ok {
		r.GCCPURatio = &ratio
		if opt.over > 0 {
			r.WindowSeconds = nonZero(s.Time.Sub(from.Time).Seconds())
		}
	}
	for _, f := range quickFindings(&record.Recording{Process: t.Process(), Samples: samples}) {
		r.Findings = append(r.Findings, psBrief{f.ID, f.Severity, f.Title})
	}
	return nil
}

func psPrint(env Env, doc psDocument, names []string) error {
	tab := texttab.Table{Columns: []texttab.Column{
		{Head: "PID", Right: true},
		{Head: "NAME", Min: 13},
		{Head: "GO"},
		{Head: "LIVE", Right: true},
		{Head: "GOAL", Right: true},
		{Head: "RSS", Right: true},
		{Head: "LIMIT", Right: true},
		{Head: "GOGC", Right: true, Drop: 2},
		{Head: "GOMEMLIMIT", Right: true, Drop: 4},
		{Head: "CYCLES", Right: true, Drop: 5},
		{Head: "GC CPU", Right: true},
		{Head: "GOROUT.", Right: true, Drop: 1},
		{Head: "UP", Right: true, Drop: 3},
		{Head: "USER", Drop: 7, Min: 4},
		{Head: "MODULE", Drop: 8, Min: 10},
		{Head: "FINDING"},
	}}
	titles := map[string]string{}
	for _, r := range doc.Processes {
		psTableRow(&tab, r, titles)
	}
	if len(doc.Processes) == 0 {
		what := "no Go processes here"
		if len(names) > 0 {
			what = "no Go process matches " + strings.Join(names, " ")
		}
		fmt.Fprintln(env.Stdout, term.Clean(what))
	} else if err := tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout)); err != nil {
		return err
	}
	if len(titles) > 0 {
		fmt.Fprintln(env.Stdout)
		const indent = "        "
		ids := make([]string, 0, len(titles))
		for id := range titles {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			line := term.Wrap(term.Clean(titles[id]), indent, env.textColumns(env.Stdout))
			fmt.Fprintln(env.Stdout, id+strings.TrimPrefix(line, indent[:len(id)]))
		}
	}
	if doc.Hidden > 0 {
		env.warnf("%s could not be looked into, and may be Go: heapwright ps --all says why", plural(doc.Hidden, "more process"))
	}
	return nil
}

func psTableRow(tab *texttab.Table, r *psRow, titles map[string]string) {
	missing := texttab.Cell{Text: "-", Style: term.Faint}
	cell := func(known bool, text func() string) texttab.Cell {
		if !known {
			return missing
		}
		return texttab.Cell{Text: text()}
	}
	size := func(p *uint64) texttab.Cell {
		return cell(p != nil, func() string { return compactBytes(float64(*p)) })
	}
	name, finding := r.Name, texttab.Cell{}
	switch {
	case r.Error != nil:
		note := *r.Error
		if r.Hint != nil {
			note += " (" + *r.Hint + ")"
		}
		finding = texttab.Cell{Text: "unread" + tab.Note(note), Style: term.Faint}
	case len(r.Findings) > 0:
		f := r.Findings[0]
		finding = texttab.Cell{Text: f.ID, Style: severityStyle(f.Severity)}
		titles[f.ID] = fmt.Sprintf("%s: %s", f.Severity, f.Title)
		if n := len(r.Findings) - 1; n > 0 {
			finding.Text += fmt.Sprintf(" +%d", n)
		}
	}
	tab.Row(
		texttab.Cell{Text: fmt.Sprint(r.PID)},
		texttab.Cell{Text: name, Style: term.Bold},
		cell(r.GoVersion != nil, func() string { return shortGoVersion(*r.GoVersion) }),
		size(r.HeapLiveBytes), cell(r.HeapGoalBytes != nil, func() string { return goalText(*r.HeapGoalBytes) }), size(r.RSSBytes), size(r.CgroupLimitBytes),
		cell(r.GOGCPercent != nil, func() string { return gogcText(*r.GOGCPercent) }),
		cell(r.GOMEMLIMITBytes != nil, func() string { return memlimitText(*r.GOMEMLIMITBytes) }),
		cell(r.GCCycles != nil, func() string { return fmt.Sprint(*r.GCCycles) }),
		cell(r.GCCPURatio != nil, func() string { return percent(*r.GCCPURatio) }),
		cell(r.Goroutines != nil, func() string { return fmt.Sprint(*r.Goroutines) }),
		cell(r.UptimeSeconds != nil, func() string { return span(time.Duration(*r.UptimeSeconds * float64(time.Second))) }),
		cell(r.User != nil, func() string { return *r.User }),
		cell(r.Module != nil || r.MainPackage != nil, func() string {
			if r.Module == nil {
				return *r.MainPackage
			}
			return *r.Module
		}),
		finding,
	)
}

func severityStyle(s diagnose.Severity) term.Style {
	switch s {
	case diagnose.Critical:
		return term.Red
	case diagnose.Warning:
		return term.Yellow
	}
	return term.Cyan
}
