package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/heapwright/heapwright/e2e/internal/stress"
)

// tries is how often a fault may be cut short by a machine that is too busy.
const tries = 3

// named asks whether the diagnosis names what was injected, and what it says of those
// to whom nothing happens.
func named(ctx context.Context, o *options) error {
	if err := o.build(ctx, "stresssubject"); err != nil {
		return err
	}
	if err := o.buildServers(ctx); err != nil {
		return err
	}
	upstream, err := stress.Upstream(ctx)
	if err != nil {
		return err
	}
	leaf, end, err := stress.Hub(ctx, o.Programs["nats"], o.Dir)
	if err != nil {
		return err
	}
	defer end()
	n := cmp.Or(o.runs, 3)
	plans := append(stress.NamedPlans(n, upstream, leaf), stress.HealthyMinutes(4*n, upstream, leaf)...)
	plans = slices.DeleteFunc(plans, func(p stress.NamedPlan) bool { return !strings.Contains(p.Name, o.only) })
	var lines sync.Mutex
	var namings []stress.Naming
	minutes, cut, alarms := 0, 0, map[string]int{}
	fmt.Fprintf(o.out, "%-18s %-14s %-9s %-18s %9s  %s\n", "subject", "fault", "", "named by", "after", "beside")
	run := func(ctx context.Context, p stress.NamedPlan) ([]stress.Naming, error) {
		r, err := o.Run(ctx, p.Name, p.Text())
		if err != nil {
			return nil, err
		}
		lines.Lock()
		defer lines.Unlock()
		if found, ok := stress.Alarms(r); ok {
			minutes++
			for _, f := range found {
				alarms[f.ID+" "+f.Severity]++
				fmt.Fprintf(o.out, "%-18s a healthy minute: %s %s %s\n", p.Subject, f.ID, f.Severity, f.Title)
			}
		}
		if len(p.Kinds) == 0 {
			return nil, nil
		}
		all := stress.Namings(p.Subject, r)
		for _, f := range all {
			what := "named"
			switch {
			case !f.Whole:
				what = "cut short"
			case !f.Rule:
				what = "no rule"
			case len(f.Named) == 0:
				what = "UNNAMED"
			}
			fmt.Fprintf(o.out, "%-18s %-14s %-9s %-18s %9s  %s\n", f.Subject, f.Kind, what, strings.Join(f.Named, " "), number(f.After, 1, "%.1f s"), strings.Join(f.Others, " "))
		}
		if len(all) < len(p.Kinds) || r.Report.Verdict == "ABORTED" {
			fmt.Fprintf(o.out, "%s: %s: %s %.300s\n", p.Name, r.Report.Verdict, r.Report.Reason, r.Stderr[max(0, len(r.Stderr)-300):])
		}
		return all, nil
	}
	err = stress.Each(ctx, len(plans), o.atOnce, func(ctx context.Context, i int) error {
		p := plans[i]
		for range tries {
			all, err := run(ctx, p)
			if err != nil {
				return err
			}
			lines.Lock()
			for _, f := range all {
				if f.Whole {
					namings = append(namings, f)
				} else {
					cut++
				}
			}
			lines.Unlock()
			var more bool
			if p, more = p.Again(all); !more {
				break
			}
		}
		return nil
	})
	type kind struct{ subject, kind string }
	happened, right := map[kind]int{}, map[kind]int{}
	by, after, rule := map[kind]map[string]bool{}, map[kind][]float64{}, map[kind]bool{}
	all, well := 0, 0
	for _, f := range namings {
		k := kind{f.Subject, f.Kind}
		happened[k]++
		rule[k] = f.Rule
		if f.Rule {
			all++
		}
		if len(f.Named) == 0 {
			continue
		}
		well++
		right[k]++
		if f.After != nil {
			after[k] = append(after[k], *f.After)
		}
		if by[k] == nil {
			by[k] = map[string]bool{}
		}
		for _, id := range f.Named {
			by[k][id] = true
		}
	}
	fmt.Fprintf(o.out, "\n%-18s %-14s %-8s %-22s %s\n", "subject", "fault", "named", "by", "after, s")
	for _, k := range slices.SortedFunc(maps.Keys(happened), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.subject, b.subject), cmp.Compare(a.kind, b.kind))
	}) {
		score := fmt.Sprintf("%d of %d", right[k], happened[k])
		if !rule[k] {
			score = "no rule"
		}
		slices.Sort(after[k])
		seconds := ""
		for _, s := range after[k] {
			seconds += fmt.Sprintf("%.0f ", s)
		}
		fmt.Fprintf(o.out, "%-18s %-14s %-8s %-22s %s\n", k.subject, k.kind, score, strings.Join(slices.Sorted(maps.Keys(by[k])), " "), seconds)
	}
	fmt.Fprintf(o.out, "%d of %d faults that a rule is for were named; %d were cut short, and are not counted; in %d healthy minutes the diagnosis said", well, all, cut, minutes)
	for _, id := range slices.Sorted(maps.Keys(alarms)) {
		fmt.Fprintf(o.out, " %s (%d)", id, alarms[id])
	}
	fmt.Fprintln(o.out)
	return errors.Join(err, o.write(struct {
		Faults  []stress.Naming `json:"faults"`
		Minutes int             `json:"healthy_minutes_count"`
		Alarms  map[string]int  `json:"findings_of_healthy_counts"`
	}{namings, minutes, alarms}))
}
