package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

type undoOptions struct {
	json    bool
	list    bool
	all     bool
	history bool
	via     string
	swept   []string // left by runs of stress that were killed, and put back
}

func undoCommand() command {
	var opt undoOptions
	return command{
		use:   "undo PID|NAME | --all | --list | --history",
		short: "takes back what heapwright changed in a running process",
		long: `
Puts back the settings that a process had before tune --apply live or profile
--enable changed them. What somebody else has set since stays as it is.

A change that was made through a program's debug page (--via) is taken back the
same way. What a heapwright stress left that was killed together with its keeper
is put back too: limits, quotas, stopped processes, processes of ours.

--list shows the changes that are in effect, --history everything that was done:
by whom, when, which words of which process, and how it ended. Both are of the
user who runs it.`,
		example: `
  heapwright undo 4123
  heapwright undo --all
  heapwright undo --list
  heapwright undo --history --json | jq '.entries[] | select(.pid == 4123)'`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVarP(&opt.all, "all", "a", false, "take back every change that is in effect")
			f.BoolVarP(&opt.list, "list", "l", false, "list the changes that are in effect")
			f.StringVar(&opt.via, "via", "", "ask the program at its debug page `URL`")
			f.BoolVar(&opt.history, "history", false, "list everything that was done")
			jsonFlag(f, &opt.json)
		},
		complete: completeTargets,
		args: func(_ *cobra.Command, args []string) error {
			ways := len(args)
			for _, given := range []bool{opt.all, opt.list, opt.history} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return usagef("undo", "undo takes one process, or --all, or --list, or --history")
			}
			if opt.via != "" && len(args) == 0 {
				return usagef("undo", "--via is about one process")
			}
			return nil
		},
		run: func(ctx context.Context, env Env, args arguments) error {
			changer, err := env.Changes()
			if err != nil {
				return err
			}
			switch {
			case opt.list:
				return undoList(env, opt, changer)
			case opt.history:
				return undoHistory(env, opt, changer)
			}
			var unswept error
			if opt.swept, unswept = sweepStress(ctx, env); !opt.json {
				for _, s := range opt.swept {
					fmt.Fprintln(env.Stdout, term.Wrap(term.Clean("left by stress, and put back: "+s), "", env.textColumns(env.Stdout)))
				}
			}
			if opt.all {
				return errors.Join(undoAll(ctx, env, opt, changer), unswept)
			}
			if unswept != nil {
				printError(env.Stderr, unswept)
			}
			ref, err := parseTarget(ctx, env, append(args.targets, args.command...)[0], false)
			if err != nil {
				return err
			}
			if ref.kind != targetPID {
				return usagef("undo", "undo takes the PID or the name of a process, not %s", ref.text)
			}
			return undo(ctx, env, opt, changer, []int{ref.pid})
		},
	}
}

// An undoDocument is what undo --json prints.
type undoDocument struct {
	Schema string   `json:"schema"`
	Undone []undone `json:"undone"`
	// Swept is what was put back of runs of stress that were killed.
	Swept []string `json:"swept"`
}

type undone struct {
	PID   int        `json:"pid"`
	Steps []liveStep `json:"steps"`
	// Theirs are the words that somebody else has set since, and that stay.
	Theirs []string `json:"theirs"`
	Notes  []string `json:"notes"`
	Error  *string  `json:"error"`
}

func undoAll(ctx context.Context, env Env, opt undoOptions, c Changer) error {
	// A lease that cannot be read is no reason to leave the other changes.
	leases, unread := c.Leases()
	if len(leases) == 0 && unread != nil {
		return unread
	}
	var pids []int
	for _, l := range leases {
		pids = append(pids, l.PID)
	}
	if len(pids) == 0 && !opt.json {
		if len(opt.swept) == 0 {
			fmt.Fprintln(env.Stdout, "No change is in effect.")
		}
		return nil
	}
	return errors.Join(undo(ctx, env, opt, c, pids), unread)
}

// undo takes changes back, all that it can.
func undo(ctx context.Context, env Env, opt undoOptions, c Changer, pids []int) error {
	doc := undoDocument{Schema: schemaUndo, Undone: []undone{}, Swept: append([]string{}, opt.swept...)}
	var failed error
	for _, pid := range pids {
		var r live.Receipt
		var err error
		if opt.via != "" {
			r, err = c.UndoVia(ctx, pid, opt.via)
		} else {
			r, err = c.Undo(ctx, pid)
		}
		u := undone{PID: pid, Steps: liveSteps(r.Steps), Theirs: append([]string{}, r.Theirs...), Notes: append([]string{}, r.Notes...)}
		if err != nil {
			text := oneLine(err.Error())
			u.Error = &text
			if len(pids) == 1 {
				failed = err
			} else {
				printError(env.Stderr, fmt.Errorf("process %d: %w", pid, err))
				failed = errors.New("not all changes could be taken back")
			}
		}
		doc.Undone = append(doc.Undone, u)
	}
	if opt.json {
		if failed != nil && len(pids) == 1 {
			return failed
		}
		return errors.Join(writeJSON(env.Stdout, doc), failed)
	}
	for _, u := range doc.Undone {
		if u.Error == nil {
			u.print(env)
		}
	}
	return failed
}

func (u *undone) print(env Env) {
	w, width := env.Stdout, env.textColumns(env.Stdout)
	what := stepsText(u.Steps)
	if what == "" {
		what = "nothing was left to put back"
	}
	fmt.Fprintf(w, "%d  %s\n", u.PID, what)
	if len(u.Theirs) > 0 {
		fmt.Fprintln(w, term.Wrap(fmt.Sprintf("%s: somebody else has set it since; it stays as it is.", strings.Join(u.Theirs, ", ")), "", width))
	}
	for _, n := range u.Notes {
		fmt.Fprintln(w, term.Wrap(term.Clean(n), "", width))
	}
}

// A leaseDocument is what undo --list --json prints.
type leaseDocument struct {
	Schema  string        `json:"schema"`
	Changes []leaseObject `json:"changes"`
}

type leaseObject struct {
	PID   int       `json:"pid"`
	Exe   string    `json:"exe"`
	Since time.Time `json:"since"`
	Tool  string    `json:"tool"`
	User  *string   `json:"user"`
	UID   int       `json:"uid"`
	Why   string    `json:"why"`
	// State is kept, in_progress, or orphaned: the tool died with its watchdog.
	State string     `json:"state"`
	Steps []liveStep `json:"steps"`
}

func leaseState(l *live.Lease) string {
	switch {
	case l.Kept:
		return "kept"
	case l.Orphaned():
		return "orphaned"
	}
	return "in_progress"
}

func undoList(env Env, opt undoOptions, c Changer) error {
	leases, unread := c.Leases()
	if len(leases) == 0 && unread != nil {
		return unread
	}
	doc := leaseDocument{Schema: schemaChanges, Changes: []leaseObject{}}
	for i := range leases {
		l := &leases[i]
		doc.Changes = append(doc.Changes, leaseObject{l.PID, l.Exe, l.Owner.Since, l.Owner.Tool, nonZero(l.Owner.User), l.Owner.UID, l.Why, leaseState(l), liveSteps(l.Words)})
	}
	if opt.json {
		return errors.Join(writeJSON(env.Stdout, doc), unread)
	}
	if len(doc.Changes) == 0 {
		fmt.Fprintln(env.Stdout, "No change is in effect.")
		return nil
	}
	tab := texttab.Table{Columns: []texttab.Column{{Head: "PID", Right: true}, {Head: "PROGRAM", Min: 8}, {Head: "SINCE"}, {Head: "BY", Drop: 2}, {Head: "STATE"}, {Head: "CHANGE", Min: 20}}}
	for _, l := range doc.Changes {
		state := texttab.Cell{Text: strings.ReplaceAll(l.State, "_", " ")}
		if l.State == "orphaned" {
			state.Style = term.Red
			state.Text += tab.Note("The tool that made this change died, and its watchdog with it: heapwright undo PID puts back what was there.")
		}
		tab.Row(texttab.Cell{Text: strconv.Itoa(l.PID)}, texttab.Cell{Text: base(l.Exe)}, texttab.Cell{Text: stamp(env, l.Since)}, texttab.Cell{Text: userText(l.User, l.UID)}, state, texttab.Cell{Text: stepsText(l.Steps)})
	}
	return errors.Join(tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout)), unread)
}

// A historyDocument is what undo --history --json prints.
type historyDocument struct {
	Schema  string         `json:"schema"`
	Entries []historyEntry `json:"entries"`
	// Unreadable are lines of the log that make no sense.
	Unreadable int `json:"unreadable_count"`
}

type historyEntry struct {
	Time    time.Time   `json:"time"`
	Action  live.Action `json:"action"`
	PID     int         `json:"pid"`
	Exe     string      `json:"exe"`
	Tool    string      `json:"tool"`
	User    *string     `json:"user"`
	UID     int         `json:"uid"`
	Why     string      `json:"why"`
	Outcome string      `json:"outcome"`
	Steps   []liveStep  `json:"steps"`
}

func undoHistory(env Env, opt undoOptions, c Changer) error {
	entries, skipped, err := c.History()
	if err != nil {
		return err
	}
	doc := historyDocument{Schema: schemaHistory, Entries: []historyEntry{}, Unreadable: skipped}
	for _, e := range entries {
		doc.Entries = append(doc.Entries, historyEntry{e.Time, e.Action, e.PID, e.Exe, e.Tool, nonZero(e.User), e.UID, e.Why, e.Outcome, liveSteps(e.Words)})
	}
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	if skipped > 0 {
		env.warnf("%s of the log could not be understood", plural(skipped, "line"))
	}
	if len(entries) == 0 {
		fmt.Fprintln(env.Stdout, "Nothing was ever changed.")
		return nil
	}
	tab := texttab.Table{Columns: []texttab.Column{{Head: "TIME"}, {Head: "ACTION"}, {Head: "PID", Right: true}, {Head: "PROGRAM", Min: 8}, {Head: "BY", Drop: 3}, {Head: "CHANGE", Min: 28}, {Head: "WHY", Min: 12, Drop: 1}, {Head: "OUTCOME", Min: 12}}}
	for _, e := range doc.Entries {
		how := texttab.Cell{Text: e.Outcome}
		if e.Outcome != "ok" {
			how.Style = term.Red
		}
		tab.Row(texttab.Cell{Text: stamp(env, e.Time)}, texttab.Cell{Text: string(e.Action)}, texttab.Cell{Text: strconv.Itoa(e.PID)}, texttab.Cell{Text: base(e.Exe)},
			texttab.Cell{Text: userText(e.User, e.UID)}, texttab.Cell{Text: stepsText(e.Steps)}, texttab.Cell{Text: e.Why}, how)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// stamp writes an instant on the clock of who reads it.
func stamp(env Env, t time.Time) string {
	return t.In(env.Now().Location()).Format("2006-01-02 15:04:05")
}

func userText(name *string, uid int) string {
	if name != nil {
		return *name
	}
	return strconv.Itoa(uid)
}

// base is the last element of a path of another program.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// settingNames are the words that are settings, as people know them. The others
// that are written follow from these.
var settingNames = map[string]string{
	remote.WordGCPercent: "GOGC", remote.WordMemoryLimit: "GOMEMLIMIT",
	remote.WordMemProfileRate: "heap sampling", remote.WordBlockProfileRate: "block sampling", remote.WordMutexProfileRate: "mutex sampling",
}

// stepsText says which settings were changed, and how.
func stepsText(steps []liveStep) string {
	var parts []string
	for _, s := range steps {
		if name := settingNames[s.Symbol]; name != "" {
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, s.text(s.Old), s.text(s.New)))
		}
	}
	return strings.Join(parts, ", ")
}

// text writes a value of a word with its unit.
func (s *liveStep) text(value string) string {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || s.Symbol == remote.WordGCPercent {
		return value
	}
	switch s.Symbol {
	case remote.WordMemoryLimit, remote.WordHeapMinimum, remote.WordGCPercentHeapGoal:
		if n%(1<<20) == 0 {
			return sizeText(n)
		}
		return compactBytes(float64(n))
	}
	return value
}

// watchdogCommand is what live starts beside a change. People have no use for it.
func watchdogCommand() command {
	return command{
		use: "live-watchdog PID", short: "guards a live change; started by heapwright itself", hidden: true,
		args: exactly(1, "a PID"),
		run: func(ctx context.Context, env Env, args arguments) error {
			pid, err := strconv.Atoi(append(args.targets, args.command...)[0])
			if err != nil || pid <= 0 {
				return fmt.Errorf("%s is not a PID", args.targets[0])
			}
			changer, err := env.Changes()
			if err != nil {
				return err
			}
			return changer.Guard(ctx, pid, env.Stdin, env.Stdout)
		},
	}
}
