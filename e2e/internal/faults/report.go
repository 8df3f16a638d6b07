package faults

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Print prints the table of the runs, and the totals.
func Print(out io.Writer, all []Fault, runs []Run, t *Total) error {
	runs = slices.Clone(runs)
	at := func(r Run) int { return slices.IndexFunc(all, func(f Fault) bool { return f.Name == r.Fault }) }
	runs = slices.DeleteFunc(runs, func(r Run) bool { return at(r) < 0 })
	slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Or(cmp.Compare(a.Go, b.Go), at(a)-at(b)) })
	release := ""
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range runs {
		r := &runs[i]
		f := &all[at(*r)]
		if r.Go != release {
			release = r.Go
			fmt.Fprintf(w, "\n%s\t\t\t\t\t\t\t\n", release)
			fmt.Fprintln(w, "PROGRAM\tKIND\tVERDICT\tCAUSE\tSITE\tHOLDER\tAFTER\tGROWTH/TRUTH")
		}
		s := Judge(f, r)
		verdict := r.Said.Verdict
		switch {
		case r.Failed != "":
			verdict = "FAILED"
		case f.Kind == Healthy && !s.Right:
			verdict += " (FALSE)"
		case !s.Right:
			verdict += " (MISSED)"
		}
		cause, site, held := "", "", s.Held.String()
		if f.Kind != Healthy && len(r.Said.Findings) > 0 {
			first := r.Said.Findings[0]
			if s.Cause != NotAsked {
				cause = first.Cause
				if s.Cause == Wrong {
					cause += " (WRONG: " + f.Cause + ")"
				} else if s.Exact == Wrong {
					cause += " (" + f.Cause + ")"
				}
			}
			if s.Site != NotAsked {
				site = first.Site
				if s.Site == Wrong {
					site += " (WRONG)"
				}
			}
		}
		growth := ""
		if s.Growth > 0 {
			growth = fmt.Sprintf("%.2f", s.Growth)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f s\t%s\n", f.Name, f.Kind, verdict, cause, site, held, r.Seconds, growth)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
leaks found        %v
false alarms       %v; of the healthy, inconclusive: %v
cause right        %v; the very cause: %v
site right         %v
holder right       %v
time to verdict    %.0f s in the median, of the leaks found
growth             %.2f of the truth in the median
OOM kills          the memory is right in %v, the site in %v; a heap profile from before in %v
`, t.Found, t.FalseAlarms, t.Inconclusive, t.Cause, t.Exact, t.Site, t.Held, t.MedianSeconds, t.MedianGrowth, t.OOM, t.OOMAt, t.Captured)
	return err
}
