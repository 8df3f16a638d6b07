package report

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// timeline draws memory over time, with the limit, the captures and the kill: all of the
// course, or the last part of it.
func timeline(r *postmortem.Report, part time.Duration) (figure, bool) {
	pts := r.Course.Points
	if len(pts) < 2 {
		return figure{}, false
	}
	start, end := pts[0].Time, pts[len(pts)-1].Time
	zero, zeroName := end, "end"
	if k := r.Kill; k != nil && !k.Time.IsZero() && k.Time.Sub(start) > 0 && k.Time.Sub(end) < 24*time.Hour {
		zero, zeroName = k.Time, "kill"
		if zero.After(end) {
			end = zero
		}
	}
	if part > 0 {
		if from := end.Add(-part); from.After(start) {
			start = from
		}
	}
	span := end.Sub(start).Seconds()
	if !(span > 0) {
		return figure{}, false
	}
	const height, top, bottom = 250.0, 22.0, 226.0
	limit := 0.0
	if c := r.Composition; c != nil && c.LimitBytes != nil {
		limit = float64(*c.LimitBytes)
	}
	most := 0.0
	for i := range pts {
		for _, v := range []*int64{pts[i].Usage, pts[i].RSS, pts[i].Live} {
			if v != nil && !pts[i].Time.Before(start) {
				most = max(most, float64(*v))
			}
		}
	}
	if limit > 0 && limit < 4*most {
		most = max(most, limit)
	}
	if !(most > 0) {
		return figure{}, false
	}
	most *= 1.06
	x := func(t time.Time) float64 { return t.Sub(start).Seconds() / span }
	y := func(v float64) float64 { return bottom - (bottom-top)*min(max(v/most, 0), 1) }

	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	for _, v := range byteTicks(most) {
		add(`<line class="grid" x1="0" x2="100%%" y1="%.1f" y2="%.1f"/>`, y(v), y(v))
	}
	lines := []struct {
		class, name string
		of          func(*postmortem.Moment) *int64
	}{
		{"usage", "in use", func(m *postmortem.Moment) *int64 { return cmp.Or(m.Usage, m.RSS) }},
		{"gomem", "mapped by Go", func(m *postmortem.Moment) *int64 { return m.GoMem }},
		{"heap", "Go heap live and allocated since", func(m *postmortem.Moment) *int64 { return m.Live }},
	}
	f := figure{Caption: r.Course.Text}
	add(`<svg x="0" y="0" width="100%%" height="%.0f" viewBox="0 0 10000 %.0f" preserveAspectRatio="none">`, height, height)
	for _, l := range lines {
		var path strings.Builder
		n, first, last := 0, 0.0, 0.0
		for i := range pts {
			v := l.of(&pts[i])
			if v == nil || pts[i].Time.Before(start) {
				continue
			}
			last = 10000 * min(max(x(pts[i].Time), 0), 1)
			if n == 0 {
				first = last
			}
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(n, 1)], last, y(float64(*v)))
			n++
		}
		if n < 2 {
			continue
		}
		if l.class == "heap" {
			add(`<path class="area" d="%sL%.1f %.1fL%.1f %.1fZ"/>`, path.String(), last, bottom, first, bottom)
		}
		add(`<path class="%s" vector-effect="non-scaling-stroke" d="%s"/>`, l.class, path.String())
		f.Keys = append(f.Keys, fact{l.class, l.name})
	}
	add(`</svg>`)
	for _, v := range byteTicks(most) { // above the lines
		add(`<text x="0" y="%.1f" dy="-3" class="halo">%s</text>`, y(v), html.EscapeString(rule.FormatBytes(v)))
	}
	if limit > 0 && limit <= most {
		add(`<line class="limit" x1="0" x2="100%%" y1="%.1f" y2="%.1f"/>`, y(limit), y(limit))
		f.Keys = append(f.Keys, fact{"limit", "limit " + rule.FormatBytes(limit)})
	}
	marked := false
	for _, c := range r.Captures {
		if c.Time.Before(start) || c.Time.After(end) {
			continue
		}
		used := ""
		if c.Role != "" {
			used = " used"
		}
		title := "captured: " + clean(c.Why)
		if c.BeforeKill != nil && *c.BeforeKill >= 0 {
			title += ", " + rule.FormatSeconds(*c.BeforeKill) + " before the kill"
		}
		place := at(x(c.Time))
		add(`<line class="capture%s" x1="%s" x2="%s" y1="%.0f" y2="%.0f"/><circle class="pin%s" cx="%s" cy="%.0f" r="4"><title>%s</title></circle>`, used, place, place, top-8, bottom, used, place, top-8, html.EscapeString(title))
		marked = true
	}
	if marked {
		f.Keys = append(f.Keys, fact{"capture used", "profiles were captured"})
	}
	if zeroName == "kill" {
		place := at(x(zero))
		add(`<line class="kill" x1="%s" x2="%s" y1="%.0f" y2="%.0f"><title>killed</title></line><text class="halo bad" x="%s" y="10" text-anchor="end" dx="-8">killed</text>`, place, place, top-14, bottom, place)
	}
	for i, s := range secondTicks(span) {
		t := zero.Add(-time.Duration(s * float64(time.Second)))
		place := x(t)
		if place < 0 || place > 1 {
			continue
		}
		text, anchor := "−"+rule.FormatSeconds(s), "middle"
		if i == 0 {
			text = zeroName
		}
		switch {
		case place > 0.97:
			anchor = "end"
		case place < 0.03:
			anchor = "start"
		}
		add(`<line class="grid" x1="%s" x2="%s" y1="%.0f" y2="%.0f"/><text x="%s" y="%.0f" text-anchor="%s">%s</text>`, at(place), at(place), bottom, bottom+5, at(place), bottom+18, anchor, html.EscapeString(text))
	}
	add(`<line class="grid" x1="0" x2="100%%" y1="%.0f" y2="%.0f"/>`, bottom, bottom)
	label := "Memory over " + rule.FormatSeconds(span) + ". " + clean(r.Course.Text)
	f.Body = template.HTML(fmt.Sprintf(`<svg width="100%%" height="%.0f" role="img" aria-label="%s">%s</svg>`, height, html.EscapeString(label), b.String()))
	return f, true
}

// byteTicks are round sizes below a size, three to six of them.
func byteTicks(most float64) []float64 {
	step := math.Exp2(math.Floor(math.Log2(most / 3)))
	if !(step > 0) || math.IsInf(step, 0) {
		return nil
	}
	var out []float64
	for v := step; v < most && len(out) < 8; v += step {
		out = append(out, v)
	}
	return out
}

// secondTicks are round times before the end, from 0 on.
func secondTicks(span float64) []float64 {
	steps := []float64{1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if span/s <= 5 {
			step = s
			break
		}
	}
	out := []float64{0}
	for s := step; s < span && len(out) < 12; s += step {
		out = append(out, s)
	}
	return out
}
