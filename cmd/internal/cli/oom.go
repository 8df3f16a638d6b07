package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/config"
	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/postmortem/report"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

// deaths is what the machine says of processes that are short of memory.
type deaths interface {
	// Kills are those that the kernel's log still tells of, the oldest first.
	Kills(ctx context.Context) ([]oom.Kill, error)
	// Group looks at the cgroup of a process.
	Group(pid int) (*postmortem.Group, error)
}

type oomOptions struct {
	observeOptions
	data string
	html string
	json bool
}

// oomWindow is how long a process that lives is watched.
const oomWindow = 10 * time.Second

func oomCommand() command {
	opt := oomOptions{observeOptions: observeOptions{command: "oom"}}
	return command{
		use:   "oom PID|NAME|ID|FILE",
		short: "why a process was killed for want of memory: the post-mortem",
		long: `
Says why the kernel killed a process for want of memory: which cgroup met which
limit, which memory it was (live Go heap, garbage, stacks, memory that is not
Go's, page cache, another process), what of it had grown and where the program
allocated that, and with which settings it would have lived.

It reads what a black box kept: heapwright serve, or heapwright oom watch, which
has to run before the process dies. A PID is that of the killed process; NAME is
the newest kill of that name; ID is one of heapwright oom list. FILE is a
post-mortem file, which is a recording: diagnose opens it too. The verdict is
made anew each time, from what was seen.

Of a process that lives it says how near its limit is, and what a kill would be
for. Of one that was killed unwatched it says what the kernel's log knows, and
what nobody does.

Exit codes: 0, 2 could not run, 3 not enough evidence to tell.`,
		example: `
  heapwright oom list
  heapwright oom 4123
  heapwright oom api-server-4123-20261122T014500.123Z --html why.html
  heapwright oom --json api.hwrec | jq .verdict
  heapwright oom watch`,
		flags: func(f *pflag.FlagSet) {
			dataFlag(f, &opt.data)
			f.StringVar(&opt.html, "html", "", "write a report with figures, which needs nothing else, to `FILE`")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch a process that lives this long (default %v)", oomWindow))
			lifeFlag(f, &opt.life)
			jsonFlag(f, &opt.json)
		},
		complete: completeTargets,
		run: func(ctx context.Context, env Env, args arguments) error {
			if len(args.targets) != 1 || args.dash {
				return usagef("oom", "oom takes one process, post-mortem or file; heapwright oom list shows what was kept")
			}
			return oomRun(ctx, env, opt, args.targets[0])
		},
		sub: []command{oomListCommand(), oomWatchCommand()},
	}
}

func dataFlag(f *pflag.FlagSet, v *string) {
	f.StringVar(v, "data", "", "the data `DIR` of heapwright serve, or of heapwright oom watch")
}

// oomDir is where post-mortems are kept: beside what else serve keeps.
func oomDir(env Env, data string) (string, error) {
	dir := cmp.Or(data, config.StateDir(env.Getenv, os.Getuid()))
	if dir == "" {
		return "", hinted(errors.New("there is no place for data"), "give one with --data DIR")
	}
	return filepath.Join(dir, "oom"), nil
}

func oomRun(ctx context.Context, env Env, opt oomOptions, arg string) error {
	if err := opt.check(); err != nil {
		return err
	}
	e, err := oomEvidence(ctx, env, opt, arg)
	if err != nil {
		return err
	}
	r := postmortem.Examine(e)
	if opt.html != "" {
		if err := writeHTML(opt.html, r); err != nil {
			return err
		}
		env.warnf("the report is in %s", opt.html)
	}
	switch {
	case opt.json:
		err = writeJSON(env.Stdout, r)
	case opt.html == "":
		err = report.Text(env.Stdout, r, env.textColumns(env.Stdout), env.painter(env.Stdout))
	}
	if err == nil && r.Verdict.Memory == postmortem.NotEnough {
		err = exitWith(ExitInconclusive)
	}
	return err
}

func writeHTML(path string, r *postmortem.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("saving the report: %w", err)
	}
	if err := errors.Join(report.HTML(f, r), f.Close()); err != nil {
		return fmt.Errorf("saving the report: %w", err)
	}
	return nil
}

// oomEvidence finds what is known of what an argument names.
func oomEvidence(ctx context.Context, env Env, opt oomOptions, arg string) (*postmortem.Evidence, error) {
	pid, err := strconv.Atoi(arg)
	isPID := err == nil
	if !isPID && isFile(arg) {
		rec, err := readLife(env, "oom", arg, opt.life)
		if err != nil {
			return nil, err
		}
		return postmortem.Read(rec)
	}
	dir, err := oomDir(env, opt.data)
	if err != nil {
		return nil, err
	}
	kept, err := blackbox.List(dir)
	if err != nil {
		return nil, err
	}
	entry := slices.IndexFunc(kept, func(e blackbox.Entry) bool { return e.ID == arg || e.Name == arg || isPID && e.PID == pid })
	open := func() (*postmortem.Evidence, error) {
		rec, err := blackbox.Open(dir, kept[entry].ID)
		if err != nil {
			return nil, err
		}
		return postmortem.Read(rec)
	}
	if entry >= 0 && kept[entry].ID == arg {
		return open()
	}
	// A PID is given anew, and a name too: who lives was started after the other died.
	ref, err := parseTarget(ctx, env, arg, false)
	if err == nil && ref.kind == targetURL {
		return nil, usagef("oom", "oom is about processes of this machine and files, not URLs")
	}
	if err == nil {
		e, errLiving := oomLiving(ctx, env, opt, ref)
		switch {
		case errLiving == nil && entry >= 0:
			env.warnf("process %d lives; one that was killed before it had this name or number: heapwright oom %s", ref.pid, kept[entry].ID)
			return e, nil
		case errLiving == nil:
			return e, nil
		}
		err = errLiving
	}
	if entry >= 0 {
		return open()
	}
	if e := oomFromLog(ctx, env, arg, pid); e != nil {
		return e, nil
	}
	if isPID && errors.Is(err, fs.ErrNotExist) || !isPID {
		return nil, hinted(fmt.Errorf("there is no post-mortem of %s in %s, no such process, and the kernel's log knows no kill of it", oneLine(arg), dir),
			"heapwright oom list shows what was kept; --data DIR names another directory")
	}
	return nil, err
}

func isFile(arg string) bool {
	path := strings.ContainsRune(arg, os.PathSeparator) || strings.HasSuffix(arg, ".hwrec")
	st, err := os.Stat(arg)
	return err == nil && !st.IsDir() && (path || st.Mode()&0o111 == 0) || path
}

// oomLiving watches a process that lives.
func oomLiving(ctx context.Context, env Env, opt oomOptions, ref targetRef) (*postmortem.Evidence, error) {
	opt.over = cmp.Or(opt.over, oomWindow)
	e := &postmortem.Evidence{}
	look := func() {
		if g, err := env.Deaths.Group(ref.pid); err == nil {
			e.Groups = append(e.Groups, *g)
		}
	}
	look()
	rec, err := observe(ctx, env, opt.observeOptions, ref.text)
	if err != nil {
		return nil, err
	}
	look()
	e.Recording = rec
	return e, nil
}

// oomFromLog is what the kernel's log knows of a process that nobody watched; nil when
// that is nothing.
func oomFromLog(ctx context.Context, env Env, name string, pid int) *postmortem.Evidence {
	kills, err := env.Deaths.Kills(ctx)
	if err != nil {
		env.warnf("%s", err)
	}
	const commLength = 15 // TASK_COMM_LEN of Linux, less its end
	for _, k := range slices.Backward(kills) {
		if k.PID == pid && pid != 0 || pid == 0 && k.Name == name[:min(len(name), commLength)] {
			kill := k.Kill
			return &postmortem.Evidence{Kill: &kill, Recording: &record.Recording{Process: record.Process{PID: k.PID, Name: k.Name}}}
		}
	}
	return nil
}

// localDeaths asks this machine.
type localDeaths struct{}

func (localDeaths) Kills(ctx context.Context) ([]oom.Kill, error) {
	// The time is for a log that is written faster than it is read.
	const back, most = 30 * 24 * time.Hour, 10 * time.Second
	log, err := oom.OpenLog(oom.LogOptions{Back: back, End: true})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var out []oom.Kill
	for {
		k, err := log.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, k)
	}
}

func (localDeaths) Group(pid int) (*postmortem.Group, error) {
	m := blackbox.NewMachine()
	g, err := m.Group(pid)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	out := &postmortem.Group{Time: time.Now(), Path: g.Path(), Version: g.Version()}
	levels, err := g.Levels(nil)
	if err != nil || len(levels) == 0 {
		return nil, cmp.Or(err, fs.ErrNotExist)
	}
	at := levels[0]
	for _, l := range levels {
		if l.Limit > 0 && (at.Limit == 0 || l.Left() < at.Left()) {
			at = l
		}
	}
	out.UsageBytes, out.LimitBytes = at.Usage, at.Limit
	if out.Parts, _, err = g.Parts(at.Dir); err != nil {
		return nil, err
	}
	all, leftOut := m.Siblings(at.Dir)
	out.Siblings = slices.DeleteFunc(all, func(s postmortem.Sibling) bool { return s.PID == pid })
	out.SiblingsLeftOut = leftOut
	return out, nil
}

func oomListCommand() command {
	var opt struct {
		data string
		json bool
	}
	return command{
		use:   "list",
		short: "the post-mortems that were kept here, the newest first",
		long: `
Lists the post-mortem files that heapwright serve and heapwright oom watch kept
on this machine, the newest first. The verdict of each is made anew.`,
		example: `
  heapwright oom list
  heapwright oom list --json | jq -r '.postmortems[0].id'`,
		flags: func(f *pflag.FlagSet) {
			dataFlag(f, &opt.data)
			jsonFlag(f, &opt.json)
		},
		run: func(_ context.Context, env Env, args arguments) error {
			if len(args.targets)+len(args.command) > 0 {
				return usagef("oom list", "oom list takes no arguments")
			}
			dir, err := oomDir(env, opt.data)
			if err != nil {
				return err
			}
			d, err := listOOM(dir)
			if err != nil {
				return err
			}
			if opt.json {
				return writeJSON(env.Stdout, d)
			}
			return d.print(env)
		},
	}
}

// An oomList is the document of oom list --json.
type oomList struct {
	Schema      string       `json:"schema"`
	Dir         string       `json:"dir"`
	Postmortems []oomListRow `json:"postmortems"`
	LeftOut     int          `json:"left_out"` // that are not listed, of those that there are
}

type oomListRow struct {
	ID      string              `json:"id"`
	File    string              `json:"file"`
	Time    time.Time           `json:"time"`
	Name    string              `json:"name"`
	PID     int                 `json:"pid"`
	Bytes   int64               `json:"bytes"`
	Verdict *postmortem.Verdict `json:"verdict"` // null when the file cannot be read
	Error   *string             `json:"error"`
}

// mostListed is how many post-mortems are listed: each is read.
const mostListed = 100

func listOOM(dir string) (*oomList, error) {
	kept, err := blackbox.List(dir)
	if err != nil {
		return nil, err
	}
	d := &oomList{Schema: schemaOOMList, Dir: dir, Postmortems: []oomListRow{}, LeftOut: max(0, len(kept)-mostListed)}
	for _, e := range kept[:min(len(kept), mostListed)] {
		row := oomListRow{ID: e.ID, File: e.File, Time: e.Time, Name: e.Name, PID: e.PID, Bytes: e.Bytes}
		rec, err := blackbox.Open(dir, e.ID)
		var ev *postmortem.Evidence
		if err == nil {
			ev, err = postmortem.Read(rec)
		}
		if err != nil {
			text := err.Error()
			row.Error = &text
		} else {
			row.Verdict = &postmortem.Examine(ev).Verdict
		}
		d.Postmortems = append(d.Postmortems, row)
	}
	return d, nil
}

func (d *oomList) print(env Env) error {
	w := env.Stdout
	if len(d.Postmortems) == 0 {
		_, err := fmt.Fprintf(w, "No kill was kept in %s. A black box has to run when it happens: heapwright serve, or heapwright oom watch.\n", oneLine(d.Dir))
		return err
	}
	t := texttab.Table{Columns: []texttab.Column{{Head: "KILLED"}, {Head: "NAME", Min: 8}, {Head: "PID", Right: true}, {Head: "WHICH MEMORY"}, {Head: "SURE?", Drop: 2}, {Head: "SITE", Min: 16, Drop: 1}, {Head: "ID", Drop: 3}}}
	for _, r := range d.Postmortems {
		memory, sure, site := "cannot be read", "", ""
		switch {
		case r.Verdict != nil:
			memory, sure = string(r.Verdict.Memory), string(r.Verdict.Confidence)
			if s := r.Verdict.Site; s != nil {
				site = s.String()
			}
		case r.Error != nil:
			memory += t.Note(oneLine(*r.Error))
		}
		t.Text(r.Time.Local().Format("2006-01-02 15:04:05"), r.Name, strconv.Itoa(r.PID), memory, sure, site, r.ID)
	}
	if err := t.Write(w, env.columns(w), env.painter(w)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nheapwright oom PID, or ID, says why.\n")
	return err
}
