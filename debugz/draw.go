package debugz

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// barSVG draws amounts as parts of a whole. mark is where a line is drawn, as a share
// of the whole; NaN for none. The classes and names of the parts are ours.
func barSVG(parts []part, amounts []uint64, whole uint64, mark float64, label string) template.HTML {
	const width = 1000.0
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bar" viewBox="0 0 %.0f 30" preserveAspectRatio="none" role="img" aria-label="%s">`, width, template.HTMLEscapeString(label))
	x := 0.0
	for i, p := range parts {
		w := width * float64(amounts[i]) / float64(whole)
		if w > 0.2 {
			// A gap sets apart what differs in colour only.
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="0" width="%.1f" height="30"><title>%s: %s</title></rect>`, p.Class, x, max(0.2, w-min(2, w/4)), p.Name, p.Value)
		}
		x += w
	}
	if mark >= 0 && mark <= 1 {
		fmt.Fprintf(&b, `<rect class="mark" x="%.1f" y="0" width="2.5" height="30"><title>GOMEMLIMIT</title></rect>`, min(width-2.5, width*mark))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// extent is the least and the greatest of the values that are known, and their number.
func extent(values []*float64) (low, high float64, n int) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v != nil {
			low, high, n = min(low, *v), max(high, *v), n+1
		}
	}
	return low, high, n
}

// sparkSVG draws values over their times. The floor is zero, so that a ripple looks
// like one; where a value was not known the line has a gap.
func sparkSVG(times []time.Time, values []*float64) template.HTML {
	const width, height, top = 200.0, 38.0, 3.0
	_, high, n := extent(values)
	if n < 2 || len(times) != len(values) {
		return ""
	}
	span := times[len(times)-1].Sub(times[0]).Seconds()
	if !(high > 0) {
		high = 1
	}
	var line, area strings.Builder
	open, begin, last := false, 0.0, 0.0
	end := func() {
		if open {
			fmt.Fprintf(&area, "L%.0f %.0fL%.0f %.0fZ", last, height, begin, height)
		}
		open = false
	}
	for i, v := range values {
		if v == nil {
			end()
			continue
		}
		x, y := 0.0, height-1-(height-1-top)*max(0, *v/high)
		if span > 0 {
			x = width * times[i].Sub(times[0]).Seconds() / span
		}
		verb := 'L'
		if !open {
			verb, begin, open = 'M', x, true
		}
		fmt.Fprintf(&line, "%c%.0f %.1f", verb, x, y)
		fmt.Fprintf(&area, "%c%.0f %.1f", verb, x, y)
		last = x
	}
	end()
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %.0f %.0f" preserveAspectRatio="none" aria-hidden="true"><path class="area" d="%s"/><path d="%s"/></svg>`, width, height, area.String(), line.String()))
}

// meterSVG draws a share, full at 1.
func meterSVG(share float64) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect width="%.0f" height="8"/></svg>`, 100*min(1, max(0, share))))
}
