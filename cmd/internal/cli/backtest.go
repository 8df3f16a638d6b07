package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/horizon/shapes"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

// maxSimulated bounds the simulated processes of each kind.
const maxSimulated = 1000

// A backtested is the document of forecast --backtest --json.
type backtested struct {
	Schema    string          `json:"schema"`
	Simulated bool            `json:"simulated"`
	Within    float64         `json:"within_seconds"`
	Kinds     []horizon.Score `json:"kinds"`
	All       horizon.Score   `json:"all"`
}

// firstSimulated is the number of the first simulated process: the forecast's constants
// were chosen with those below in sight.
const firstSimulated = 1000

func backtest(ctx context.Context, env Env, opt forecastOptions, limit float64, files []string) error {
	const within = time.Hour
	b := horizon.NewBacktest(horizon.BacktestOptions{Within: within})
	progress := env.progress()
	defer progress.Clear()
	if len(files) == 0 {
		names := shapes.Names()
		for i, name := range names {
			for k := range opt.number {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				progress.Show(fmt.Sprintf("%s: %d of %d", name, i*opt.number+k+1, len(names)*opt.number))
				if t, ok := shapes.Make(name, uint64(firstSimulated+k)); ok {
					b.Add(horizon.Trial{Kind: name, Recording: t.Recording, Killed: t.Killed, Limit: limit})
				}
			}
		}
	}
	for _, file := range files {
		lives, err := readLives(file)
		if err != nil {
			return err
		}
		for _, rec := range lives {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			progress.Show("looking back at " + file)
			killed := horizon.Outcome(rec)
			b.Add(horizon.Trial{Kind: backtestKind(!killed.IsZero()), Recording: rec, Killed: killed, Limit: limit})
		}
	}
	progress.Clear()
	rows, all := b.Scores()
	doc := backtested{Schema: schemaBacktest, Simulated: len(files) == 0, Within: within.Seconds(), Kinds: rows, All: all}
	if opt.json {
		return writeJSON(env.Stdout, doc)
	}
	if all.Recordings == 0 {
		return exitWith(ExitInconclusive)
	}
	return doc.print(env, env.Stdout)
}

func readLives(path string) ([]*record.Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lives, err := record.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return lives, nil
}

func (d *backtested) print(env Env, w io.Writer) error {
	tab := texttab.Table{Columns: []texttab.Column{
		{Head: "kind"}, {Head: "n", Right: true}, {Head: "killed", Right: true, Drop: 3}, {Head: "warned", Right: true},
		{Head: "lead p5/p50", Right: true, Drop: 1}, {Head: "false", Right: true, Drop: 4}, {Head: "in", Right: true}, {Head: "covered", Right: true}, {Head: "width", Right: true, Drop: 2},
	}}
	for _, s := range append(d.Kinds[:len(d.Kinds):len(d.Kinds)], d.All) {
		lead, covered, width := "", "", ""
		if s.Warned > 0 {
			lead = fmt.Sprintf("%s/%s", percent(s.LeadShare[0]), percent(s.LeadShare[2]))
		}
		if s.Deadlines > 0 {
			covered = fmt.Sprintf("%s (%s-%s)", percent(s.Covered), percent(s.CoverLow), percent(s.CoverHigh))
		}
		if s.Width > 0 {
			width = percent(s.Width)
		}
		tab.Text(s.Kind, fmt.Sprint(s.Recordings), fmt.Sprint(s.Killed), fmt.Sprint(s.Warned), lead, fmt.Sprint(s.False), fmt.Sprint(s.FalseIn), covered, width)
	}
	if err := tab.Write(w, env.columns(w), env.painter(w)); err != nil {
		return err
	}
	low, high := horizon.Wilson(d.All.Warned, d.All.Killed)
	_, most := horizon.Wilson(d.All.FalseIn, d.All.Recordings-d.All.Killed)
	text := fmt.Sprintf("Warned before the end: %d of %d killed (95%%: %s to %s). False alarms: %d in %d of %d that were not (95%%: up to %s), %.1f a day of their time.",
		d.All.Warned, d.All.Killed, percent(low), percent(high), d.All.False, d.All.FalseIn, d.All.Recordings-d.All.Killed, percent(most), float64(d.All.False)/max(d.All.HealthyDays, 1e-9))
	fmt.Fprintf(w, "\n%s\n", term.Wrap(text, "", env.textColumns(w)))
	return nil
}
