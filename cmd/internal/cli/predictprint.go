package cli

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/front"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// twinHead says which process was modelled, and from how much.
func twinHead(w io.Writer, p record.Process, rest string, width int, paint term.Painter) {
	who := term.Clean(p.Name)
	if p.PID != 0 {
		who += fmt.Sprintf(" %d", p.PID)
	}
	text := term.Wrap(who+": "+term.Clean(rest), "", width)
	fmt.Fprintln(w, paint.Paint(term.Bold, who)+strings.TrimPrefix(text, who))
}

// print writes a prediction for people.
func (d *prediction) print(env Env, parameters bool) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	head := fmt.Sprintf("%s, %s of its work replayed", d.GoVersion, span(d.Span()))
	if d.other {
		head = fmt.Sprintf("as if it were %s (it is %s), %s of its work replayed", d.GoVersion, d.Process.GoVersion, span(d.Span()))
	}
	if now := d.Now(); now != nil {
		head += "; now " + settingsText(now.Forecast.Settings)
	}
	twinHead(w, d.Process, head, width, paint)
	fmt.Fprintln(w)
	tab := d.table()
	if err := tab.Write(w, env.columns(w), paint); err != nil {
		return err
	}
	fmt.Fprintln(w)
	plot := d.plot()
	if d.Grid {
		// The rest of a grid would bury what matters of it.
		plot.Points = slices.DeleteFunc(plot.Points, func(p front.Point) bool { return p.Fails && !p.Now })
		efficient := front.Efficient(plot.Points)
		kept := plot.Points[:0:0]
		for i, p := range plot.Points {
			if p.Now || p.Best || slices.Contains(efficient, i) {
				kept = append(kept, p)
			}
		}
		plot.Points = kept
	}
	if err := plot.Text(w, front.Options{Width: width, Height: 12, Paint: paint}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, line := range d.conclusions() {
		fmt.Fprintln(w, term.Wrap(term.Clean(line), "", width))
	}
	if d.File != nil {
		fmt.Fprintf(w, "%s has the plot.\n", term.Clean(*d.File))
	}
	if !parameters {
		return nil
	}
	fmt.Fprintln(w)
	return printParameters(env, d.Parameters)
}

// conclusions say in words what the table and the plot show.
func (d *prediction) conclusions() []string {
	var out []string
	now, best := d.Now(), d.Best()
	switch {
	case best == nil && now != nil && !isKnown(now.Forecast.RSSPeakBytes):
		out = append(out, "None is called the best: RSS is not known, so what fits into the memory that there is cannot be told.")
	case best == nil:
		out = append(out, "None of these settings works in the memory that there is: with each of them the process would be killed, do little but collect, or need more.")
	case best.Now:
		out = append(out, "None of the others costs less GC CPU "+within(&best.Forecast)+".")
	case now != nil:
		out = append(out, fmt.Sprintf("Best %s: %s, GC CPU %s instead of %s.", within(&best.Forecast), settingsText(plain(best.Forecast.Settings)),
			estimateText(best.Forecast.GCCPURatio, percentUnit), estimateText(now.Forecast.GCCPURatio, percentUnit)))
	}
	if best != nil {
		out[0] += " heapwright tune says which settings to use, and why."
	}
	if isKnown(d.Floor) && d.Floor.Estimate > 0 {
		out = append(out, fmt.Sprintf("Storm floor: GOMEMLIMIT %s. Below it the collector takes more than a quarter of the CPU.", intervalText(d.Floor, bytesUnit)))
	}
	return append(append(out, d.common()...), d.Missing...)
}

// common are the notes that all predictions have: they are about the recording
// rather than about any of the settings.
func (d *prediction) common() []string {
	var out []string
	if len(d.Predictions) < 2 {
		return nil
	}
	for _, n := range d.Predictions[0].Notes {
		if !slices.ContainsFunc(d.Predictions, func(p predicted) bool { return !slices.Contains(p.Notes, n) }) {
			out = append(out, n)
		}
	}
	return out
}

// within says in which memory settings are the best.
func within(f *pacer.Forecast) string {
	if f.Settings.ContainerLimitBytes > 0 {
		return "within the limit of " + compactBytes(float64(f.Settings.ContainerLimitBytes))
	}
	return "in no more memory than now"
}

// plain are the settings without those that a program does not set.
func plain(s pacer.Settings) pacer.Settings {
	s.ContainerLimitBytes = 0
	return s
}

// table lists the predictions; of a grid only the efficient ones and those with
// a name.
func (d *prediction) table() *texttab.Table {
	rows := make([]*predicted, 0, len(d.Predictions))
	containers, procs := map[uint64]bool{}, map[int]bool{}
	for i := range d.Predictions {
		p := &d.Predictions[i]
		if d.Grid && !p.Now && !p.Best && !p.Efficient {
			continue
		}
		containers[p.Forecast.Settings.ContainerLimitBytes] = true
		procs[p.Forecast.Settings.GOMAXPROCS] = true
		rows = append(rows, p)
	}
	if d.Grid {
		slices.SortStableFunc(rows, func(a, b *predicted) int {
			return cmp.Compare(a.Forecast.RSSPeakBytes.Estimate, b.Forecast.RSSPeakBytes.Estimate)
		})
		rows = thin(rows, maxGridRows)
	}
	tab := &texttab.Table{Columns: []texttab.Column{{Head: "GOGC", Right: true}, {Head: "GOMEMLIMIT", Right: true}}}
	if len(containers) > 1 {
		tab.Columns = append(tab.Columns, texttab.Column{Head: "LIMIT", Right: true})
	}
	if len(procs) > 1 {
		tab.Columns = append(tab.Columns, texttab.Column{Head: "PROCS", Right: true})
	}
	tab.Columns = append(tab.Columns, texttab.Column{Head: "GC/S", Right: true, Drop: 2},
		texttab.Column{Head: "GC CPU", Right: true}, texttab.Column{Drop: 1},
		texttab.Column{Head: "ASSIST", Right: true, Drop: 4},
		texttab.Column{Head: "HEAP PEAK", Right: true, Drop: 3},
		texttab.Column{Head: "RSS PEAK", Right: true}, texttab.Column{Drop: 1},
		texttab.Column{})
	notes := newNotes(rows, d.common())
	for _, p := range rows {
		f := &p.Forecast
		mark := markOf(p)
		var marks []string
		for _, n := range p.Notes {
			if text := notes.text(n); text != "" {
				marks = append(marks, tab.Note(text))
			}
		}
		slices.SortFunc(marks, func(a, b string) int { return cmp.Compare(digits(a), digits(b)) })
		for _, m := range slices.Compact(marks) {
			mark.Text = marked(mark.Text, m)
		}
		name := texttab.Cell{Text: gogcText(p.GOGCPercent)}
		if p.Best {
			name.Style = term.Green
		} else if p.Now {
			name.Style = term.Bold
		}
		row := []texttab.Cell{name, {Text: memlimitText(p.GOMEMLIMITBytes), Style: name.Style}}
		if len(containers) > 1 {
			row = append(row, texttab.Cell{Text: containerText(f.Settings.ContainerLimitBytes)})
		}
		if len(procs) > 1 {
			row = append(row, texttab.Cell{Text: procsText(f.Settings.GOMAXPROCS)})
		}
		row = append(row, texttab.Cell{Text: estimateText(f.CyclesPerSecond, rateUnit)})
		row = append(row, estimateCells(f.GCCPURatio, percentUnit)...)
		row = append(row, texttab.Cell{Text: estimateText(f.AssistRatio, percentUnit)}, texttab.Cell{Text: estimateText(f.HeapPeakBytes, bytesUnit)})
		row = append(row, estimateCells(f.RSSPeakBytes, bytesUnit)...)
		tab.Row(append(row, mark)...)
	}
	return tab
}

// notes are what is said of several settings. Those that differ in one number
// only become one, with the range of it.
type notes struct {
	elsewhere []string            // said of all, and not here
	like      map[string][]string // a note without its numbers, and the notes that look so
}

var number = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

func newNotes(rows []*predicted, elsewhere []string) *notes {
	n := &notes{elsewhere: elsewhere, like: map[string][]string{}}
	for _, p := range rows {
		for _, text := range p.Notes {
			key := number.ReplaceAllString(text, "#")
			n.like[key] = append(n.like[key], text)
		}
	}
	return n
}

// text is what to print for a note, "" for nothing.
func (n *notes) text(note string) string {
	if slices.Contains(n.elsewhere, note) {
		return ""
	}
	places := number.FindAllStringIndex(note, -1)
	out := note
	varying := 0
	for i, at := range places {
		low, high := note[at[0]:at[1]], note[at[0]:at[1]]
		for _, other := range n.like[number.ReplaceAllString(note, "#")] {
			switch v := number.FindAllString(other, -1)[i]; {
			case toFloat(v) < toFloat(low):
				low = v
			case toFloat(v) > toFloat(high):
				high = v
			}
		}
		if low != high {
			varying++
			out = note[:at[0]] + low + " to " + high + note[at[1]:]
		}
	}
	if varying > 1 {
		return note
	}
	return out
}

// superscripts are the digits of marks.
const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹"

// digits is the number that a mark shows.
func digits(mark string) int {
	n := 0
	for _, r := range mark {
		n = 10*n + utf8.RuneCountInString(superscripts[:max(strings.IndexRune(superscripts, r), 0)])
	}
	return n
}

// marked puts the mark of a note behind a text, apart from another mark: ¹ and ²
// side by side would read as 12.
func marked(text, mark string) string {
	if last, _ := utf8.DecodeLastRuneInString(text); strings.ContainsRune(superscripts, last) {
		return text + " " + mark
	}
	return text + mark
}

// toFloat is the value of what number matches.
func toFloat(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64) // too long a number is infinite, which sorts as well
	return v
}

// maxGridRows is how many rows of a grid are shown; --json has them all.
const maxGridRows = 24

// thin leaves out rows evenly, but none that has a name.
func thin(rows []*predicted, most int) []*predicted {
	if len(rows) <= most {
		return rows
	}
	var out []*predicted
	for i, p := range rows {
		if p.Now || p.Best || i*most/len(rows) != (i-1)*most/len(rows) || i == 0 {
			out = append(out, p)
		}
	}
	return out
}

func containerText(n uint64) string {
	if n == 0 {
		return "none"
	}
	return compactBytes(float64(n))
}

func procsText(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// markOf says in a word what is special about a setting, worst first.
func markOf(p *predicted) texttab.Cell {
	var words []string
	c := texttab.Cell{}
	if p.Now {
		words, c.Style = append(words, "← now"), term.Bold
	}
	if p.Best {
		words, c.Style = append(words, "best"), term.Green
	}
	risk := func(name string, e pacer.Estimate, certain bool) {
		if !certain && !(e.Estimate >= 0.005) {
			return
		}
		c.Style = term.Yellow
		if certain {
			c.Style = term.Red
		}
		if e.Estimate >= 0.005 && e.Estimate < 0.995 {
			name += " " + percent(e.Estimate)
		}
		words = append(words, name)
	}
	failed := forecast.Survives
	if p.Fails != nil {
		failed = *p.Fails
	}
	risk("OOM", p.Forecast.OOMProbability, failed == forecast.Killed)
	risk("storm", p.Forecast.LimiterProbability, failed == forecast.Storms)
	c.Text = strings.Join(words, ", ")
	return c
}

// printParameters writes what was found out about the process.
func printParameters(env Env, ps []parameter) error {
	tab := texttab.Table{Columns: []texttab.Column{{Head: "PARAMETER"}, {Head: "VALUE", Right: true}, {}, {Head: "FROM", Min: 16}}}
	for _, p := range ps {
		name, u := unitOf(p.Name)
		tab.Row(append([]texttab.Cell{{Text: name}}, append(estimateCells(p.Estimate, u), texttab.Cell{Text: p.From, Style: term.Faint})...)...)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// spelling writes the abbreviations in names as they are in text.
var spelling = strings.NewReplacer("gc", "GC", "cpu", "CPU", "rss", "RSS", "non go", "non-Go")

// unitOf splits a name with a unit into words and how its values are written.
func unitOf(name string) (string, unit) {
	words := func(suffix string) string {
		return spelling.Replace(strings.ReplaceAll(strings.TrimSuffix(name, suffix), "_", " "))
	}
	with := func(after string, u unit) unit {
		return func(v, like float64) string {
			if v == like {
				return u(v, like) + after
			}
			return u(v, like)
		}
	}
	switch {
	case strings.HasSuffix(name, "_bytes_per_second"):
		return words("_bytes_per_second"), with("/s", bytesUnit)
	case strings.HasSuffix(name, "_bytes"):
		return words("_bytes"), bytesUnit
	case strings.HasSuffix(name, "_ratio"):
		return words("_ratio"), percentUnit
	case strings.HasSuffix(name, "_seconds"):
		return words("_seconds"), func(v, _ float64) string { return rule.FormatSeconds(v) }
	case strings.HasSuffix(name, "_per_second"):
		return words("_per_second"), with("/s", rateUnit)
	case strings.HasSuffix(name, "_cores"):
		return words("_cores"), with(" cores", rateUnit)
	}
	return words(""), rateUnit
}
