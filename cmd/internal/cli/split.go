package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// maxTenants bounds how many processes share one budget.
const maxTenants = 256

// tuneMany splits one budget among several processes.
func tuneMany(ctx context.Context, env Env, opt tuneOptions, args []string) error {
	budget, rss, err := opt.findBudget(ctx, env, &args)
	if err != nil {
		return err
	}
	if len(args) > maxTenants {
		return usagef("tune", "%d processes are more than the %d that are split among at once", len(args), maxTenants)
	}
	weights, err := opt.parseWeights()
	if err != nil {
		return err
	}
	recs, errs := observeMany(ctx, env, opt.observeOptions, args)
	var tenants []tune.Tenant
	var planned []*record.Recording
	left, taken := []asideProcess{}, uint64(0)
	seen := map[string]string{}
	for i, arg := range args {
		rec, err := recs[i], errs[i]
		var t *pacer.Twin
		if err == nil {
			t, err = fitTwin(rec, opt.observeOptions, arg)
		}
		if err != nil {
			// In a cgroup there may be processes that idle, or end: what they take is
			// not there to be split, and that is all there is to say of them.
			if opt.cgroup == "" {
				return about(arg, err)
			}
			if !process.IsEnded(err) {
				a := aside(arg, rec, rss[arg], err)
				left, taken = append(left, a), taken+a.RSSBytes
			}
			continue
		}
		tenant := tune.Tenant{Name: tenantName(rec.Process, arg), Twin: t, Process: rec.Process, FileBytes: tune.FileBytes(rec)}
		if before, twice := seen[tenant.Name]; twice {
			return usagef("tune", "%s and %s are the same process", before, arg)
		}
		seen[tenant.Name] = arg
		for _, key := range []string{arg, rec.Process.Name, strconv.Itoa(rec.Process.PID)} {
			if w, ok := weights[key]; ok {
				tenant.Weight = w
				delete(weights, key)
				break
			}
		}
		tenants, planned = append(tenants, tenant), append(planned, rec)
	}
	for key := range weights {
		return usagef("tune", "--weight %s: it is none of the processes", key)
	}
	if len(tenants) == 0 {
		why := "all of them ended"
		if len(left) > 0 {
			why = left[0].Name + ": " + left[0].Why
		}
		return &exitError{ExitInconclusive, hinted(fmt.Errorf("none of the processes can be planned for: %s", why), "watch them while they do the work that the settings are for: --for 2m")}
	}
	s, err := tune.Share(budget-min(taken, budget), tenants)
	if err != nil {
		return unplanned(err, &record.Recording{}, opt.observeOptions, "PID")
	}
	doc := newSplit(s, planned)
	doc.Aside = left
	if opt.apply != "" {
		return doc.apply(env, opt, s, planned)
	}
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	return doc.print(env)
}

// An asideProcess is one that no settings can be chosen for. What it takes is not
// there to be split.
type asideProcess struct {
	Name     string `json:"name"`
	RSSBytes uint64 `json:"rss_bytes"`
	Why      string `json:"why"`
}

// aside says why a process is not planned for. Rss is what it had resident before
// it was recorded.
func aside(arg string, rec *record.Recording, rss uint64, err error) asideProcess {
	a := asideProcess{Name: arg, RSSBytes: rss, Why: oneLine(err.Error())}
	if rec != nil {
		a.Name = tenantName(rec.Process, arg)
		for i := range rec.Samples {
			if s := &rec.Samples[i]; s.Has.Has(record.FieldRSSBytes) {
				a.RSSBytes = max(a.RSSBytes, s.RSSBytes)
			}
		}
	}
	return a
}

// findBudget says how much there is to split, and for a cgroup which processes
// are in it and how much each has resident.
func (o tuneOptions) findBudget(ctx context.Context, env Env, args *[]string) (budget uint64, rss map[string]uint64, err error) {
	if o.cgroup != "" {
		if *args, rss, budget, err = inCgroup(ctx, env, o.cgroup); err != nil {
			return 0, nil, err
		}
	}
	switch {
	case o.budget != "":
		if budget, err = parseSize(o.budget); err != nil {
			return 0, nil, usagef("tune", "--budget: %s", err)
		}
	case budget == 0:
		return 0, nil, usagef("tune", "the cgroup %s has no memory limit: give a --budget", o.cgroup)
	}
	return budget, rss, nil
}

// about says which of several processes an error is about, and keeps the exit code.
func about(which string, err error) error {
	var exit *exitError
	if errors.As(err, &exit) && exit.err != nil {
		return &exitError{exit.code, fmt.Errorf("%s: %w", which, exit.err)}
	}
	return fmt.Errorf("%s: %w", which, err)
}

// tenantName tells processes of the same program apart.
func tenantName(p record.Process, arg string) string {
	if p.PID == 0 {
		return arg
	}
	return fmt.Sprintf("%s %d", p.Name, p.PID)
}

// parseWeights reads --weight PID=N.
func (o tuneOptions) parseWeights() (map[string]float64, error) {
	out := map[string]float64{}
	for _, w := range o.weights {
		who, number, ok := strings.Cut(w, "=")
		v, err := strconv.ParseFloat(number, 64)
		if !ok || who == "" || err != nil || !(v >= 1e-3 && v <= 1e3) {
			return nil, usagef("tune", "--weight %s: it is a process and a number from 0.001 to 1000, such as 4123=2", w)
		}
		out[who] = v
	}
	return out, nil
}

// inCgroup finds the Go processes in a cgroup, what each has resident, and the
// memory limit, 0 for none.
func inCgroup(ctx context.Context, env Env, name string) (pids []string, rss map[string]uint64, limit uint64, err error) {
	dir := path.Clean("/" + strings.TrimPrefix(name, "/sys/fs/cgroup"))
	entries, err := env.Host.Processes(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	rss = map[string]uint64{}
	for _, e := range entries {
		p := e.Process
		if e.Err != nil && !e.IsGo || p.PID == os.Getpid() || p.CgroupPath != dir && !strings.HasPrefix(p.CgroupPath, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		pid := strconv.Itoa(p.PID)
		pids = append(pids, pid)
		rss[pid] = e.RSS
		// A process's limit is the smallest along its path: of several, the largest
		// is nearest to that of the cgroup they share.
		limit = max(limit, p.MemoryLimitBytes)
	}
	if len(pids) == 0 {
		return nil, nil, 0, hinted(fmt.Errorf("no Go process is in the cgroup %s", dir), "heapwright ps lists the Go processes here, /proc/PID/cgroup has their cgroups")
	}
	return pids, rss, limit, nil
}

// observeMany returns the recordings of several processes, all of the same time,
// and of files; or for each why there is none.
func observeMany(ctx context.Context, env Env, opt observeOptions, args []string) ([]*record.Recording, []error) {
	recs, errs := make([]*record.Recording, len(args)), make([]error, len(args))
	targets := make([]Target, len(args))
	running := 0
	for i, arg := range args {
		if opt.stored.url != "" {
			recs[i], errs[i] = opt.stored.recall(ctx, env, opt, arg)
			continue
		}
		ref, err := parseTarget(ctx, env, arg, true)
		switch {
		case err != nil:
			errs[i] = err
		case ref.kind == targetFile:
			recs[i], errs[i] = readLife(env, opt.command, ref.text, opt.life)
		default:
			if targets[i], errs[i] = ref.watch(ctx, env); errs[i] == nil {
				defer targets[i].Close()
				running++
			}
		}
	}
	lasts := cmp.Or(opt.over, defaultWindow)
	progress, start := env.progress(), env.Now()
	var mu sync.Mutex
	var shown time.Time
	samples := 0
	show := func(*record.Sample, recorder.Summary) {
		mu.Lock()
		defer mu.Unlock()
		samples++
		if now := env.Now(); now.Sub(shown) >= 200*time.Millisecond {
			shown = now
			elapsed := now.Sub(start)
			progress.Show(fmt.Sprintf("watching %s  %s of %s %s  %s", plural(running, "process"), span(elapsed), span(lasts), term.Bar(elapsed.Seconds(), lasts.Seconds(), 8), plural(samples, "sample")))
		}
	}
	var wg sync.WaitGroup
	for i, t := range targets {
		if errs[i] != nil || t == nil {
			continue
		}
		wg.Go(func() {
			var memory recorder.Memory
			_, errs[i] = recorder.Record(ctx, t, t.Process(), &memory, recorder.Options{Hz: rate(opt.hz, t), For: lasts, Observe: show})
			recs[i] = &memory.Recording
		})
	}
	wg.Wait()
	progress.Clear()
	return recs, errs
}

// A split is the document of tune --budget --json.
type split struct {
	Schema       string `json:"schema"`
	BudgetBytes  uint64 `json:"budget_bytes"`
	ReserveBytes uint64 `json:"reserve_bytes"`
	// Aside are the processes of the cgroup that cannot be planned for.
	Aside         []asideProcess `json:"aside"`
	SmallestBytes uint64         `json:"smallest_budget_bytes"`
	Processes     []splitPart    `json:"processes"`
	CoresPerMiB   *float64       `json:"last_mib_saves_cores"`
	Expected      splitTotal     `json:"expected"`
	Alternatives  []splitTotal   `json:"alternatives"`
	Notes         []string       `json:"notes"`

	names []string
}

type splitPart struct {
	Process         record.Process `json:"process"`
	BudgetBytes     uint64         `json:"budget_bytes"`
	ExtraBytes      uint64         `json:"extra_bytes"`
	AtFloor         bool           `json:"at_floor"`
	AtCap           bool           `json:"at_cap"`
	GOGCPercent     int64          `json:"gogc_percent"`
	GOMEMLIMITBytes int64          `json:"gomemlimit_bytes"`
	Current         forecasted     `json:"current"`
	Expected        forecasted     `json:"expected"`
	Risk            []string       `json:"risk"`
	Manifest        *string        `json:"manifest"`
}

type splitTotal struct {
	Name         string   `json:"name"`
	GCCPUCores   quantity `json:"gc_cpu_cores"`
	RSSPeakBytes quantity `json:"rss_peak_bytes"`
	Fits         bool     `json:"fits"`
	Note         string   `json:"note"`

	total tune.Total
}

func splitTotalOf(t tune.Total) splitTotal {
	return splitTotal{t.Name, quantityOf(t.GCCPUCores), quantityOf(t.RSSPeak), t.Fits, t.Note, t}
}

func newSplit(s *tune.Split, recs []*record.Recording) *split {
	d := &split{Schema: schemaSplit, BudgetBytes: s.BudgetBytes, ReserveBytes: s.ReserveBytes, SmallestBytes: s.SmallestBytes, Processes: []splitPart{}, Aside: []asideProcess{},
		CoresPerMiB: finite(s.CoresPerMiB), Expected: splitTotalOf(s.Expected), Alternatives: []splitTotal{}, Notes: append([]string{}, s.Notes...)}
	for i, p := range s.Slices {
		d.Processes = append(d.Processes, splitPart{recs[i].Process, p.BudgetBytes, p.ExtraBytes, p.AtFloor, p.AtCap,
			p.Settings.GOGCPercent, p.Settings.GOMEMLIMITBytes, forecastedOf(p.Current), forecastedOf(p.Expected), append([]string{}, p.Risk...), nil})
		d.names = append(d.names, p.Name)
	}
	for _, t := range s.Others {
		d.Alternatives = append(d.Alternatives, splitTotalOf(t))
	}
	return d
}

// print writes a split for people.
func (d *split) print(env Env) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	fmt.Fprintf(w, "%s\n\n", paint.Paint(term.Bold, fmt.Sprintf("%s among %s", rule.FormatBytes(float64(d.BudgetBytes)), plural(len(d.Processes), "process"))))
	tab := texttab.Table{Columns: []texttab.Column{{Head: "PROCESS", Min: 10}, {Head: "PART", Right: true}, {Head: "GOGC", Right: true}, {Head: "GOMEMLIMIT", Right: true},
		{Head: "GC CORES", Right: true}, {Head: "WAS", Right: true}, {Head: "RSS PEAK", Right: true}, {Head: "WAS", Right: true}, {}}}
	for i := range d.Processes {
		p := &d.Processes[i]
		mark := ""
		if p.AtFloor {
			mark = marked(mark, tab.Note("At its floor: with less, its collector would run all the time."))
		}
		if p.AtCap {
			mark = marked(mark, tab.Note("At its cap: more memory would bring it nothing."))
		}
		for _, r := range p.Risk {
			mark = marked(mark, tab.Note(r))
		}
		now, then := &p.Current.Forecast, &p.Expected.Forecast
		tab.Text(d.names[i], compactBytes(float64(p.BudgetBytes)), gogcText(p.GOGCPercent), limitText(p.GOMEMLIMITBytes),
			estimateText(then.GCCPUCores, coresUnit), estimateText(now.GCCPUCores, coresUnit),
			estimateText(then.RSSPeakBytes, bytesUnit), estimateText(now.RSSPeakBytes, bytesUnit), mark)
	}
	if err := tab.Write(w, env.columns(w), paint); err != nil {
		return err
	}
	fmt.Fprintln(w)
	all := texttab.Table{Columns: []texttab.Column{{Head: "ALL TOGETHER", Min: 16}, {Head: "GC CORES", Right: true}, {}, {Head: "RSS PEAK", Right: true}, {}, {}}}
	for i, t := range append([]splitTotal{d.Expected}, d.Alternatives...) {
		name, verdict := texttab.Cell{Text: t.Name}, texttab.Cell{}
		if i == 0 {
			name = texttab.Cell{Text: cmp.Or(t.Name, "this split"), Style: term.Green}
		}
		if !t.Fits {
			verdict = texttab.Cell{Text: "does not work", Style: term.Red}
		}
		if t.Note != "" {
			verdict.Text += all.Note(t.Note)
		}
		all.Row(append(append(append([]texttab.Cell{name}, estimateCells(t.total.GCCPUCores, coresUnit)...), estimateCells(t.total.RSSPeak, bytesUnit)...), verdict)...)
	}
	if err := all.Write(w, env.columns(w), paint); err != nil {
		return err
	}
	if len(d.Aside) > 0 {
		fmt.Fprintln(w)
		aside := texttab.Table{Columns: []texttab.Column{{Head: "LEFT AS IT IS", Min: 10}, {Head: "RSS", Right: true}, {Head: "WHY", Min: 20}}}
		for _, a := range d.Aside {
			aside.Text(a.Name, compactBytes(float64(a.RSSBytes)), a.Why)
		}
		if err := aside.Write(w, env.columns(w), paint); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	var lines []string
	if d.CoresPerMiB != nil && *d.CoresPerMiB > 0 {
		lines = append(lines, fmt.Sprintf("The last MiB saves %s cores of GC CPU: one more would save as much.", significant(*d.CoresPerMiB)))
	}
	if d.SmallestBytes > 0 {
		lines = append(lines, "The smallest budget that works is "+rule.MemLimitUp(float64(d.SmallestBytes))+".")
	}
	for _, l := range append(lines, d.Notes...) {
		fmt.Fprintln(w, term.Wrap(term.Clean(l), "", width))
	}
	return nil
}

func coresUnit(v, _ float64) string { return significant(v) }
