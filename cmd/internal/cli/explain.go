package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/cmd/internal/leak"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

func explainCommand() command {
	var list, json bool
	return command{
		use:   "explain ID | --list",
		short: "the manual page of a finding, or of the cause of a leak",
		long: `
Prints what a finding means, why it matters, how it is decided, what to do, and
when it is a false alarm. ID is that of a finding (HW1001) or its name, or the
cause of a leak as heapwright leaks says it (body-not-closed).`,
		example: `
  heapwright explain HW1001
  heapwright explain body-not-closed
  heapwright explain --list`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&list, "list", false, "list all findings")
			jsonFlag(f, &json)
		},
		complete: func(context.Context, Env, []string) []string {
			var out []string
			for _, r := range manual() {
				out = append(out, r.ID+"\t"+r.Title)
			}
			for _, c := range leak.Causes() {
				out = append(out, string(c.ID)+"\t"+c.Title)
			}
			return out
		},
		run: func(_ context.Context, env Env, args arguments) error {
			return explain(env, list, json, append(args.targets, args.command...))
		},
	}
}

type explainDocument struct {
	Schema string          `json:"schema"`
	Rules  []explainedRule `json:"rules"`
	// Causes are of leaks.
	Causes []explainedCause `json:"causes"`
}

type explainedCause struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	What   string `json:"what"`
	Signs  string `json:"signs"`
	Remedy string `json:"remedy"`
	Before string `json:"before"` // Go, wrong and right; "" where code says nothing
	After  string `json:"after"`
}

func explainedCauseOf(c *leak.Cause) explainedCause {
	return explainedCause{ID: string(c.ID), Title: c.Title, What: c.What, Signs: c.Signs, Remedy: c.Remedy, Before: c.Before, After: c.After}
}

type explainedRule struct {
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Title       string              `json:"title"`
	Severities  []diagnose.Severity `json:"severities"`
	What        string              `json:"what"`
	Why         string              `json:"why"`
	How         string              `json:"how"`
	Remedy      string              `json:"remedy"`
	FalseAlarms string              `json:"false_alarms"`
	Since       string              `json:"since"`
	Needs       []string            `json:"needs"`
}

func explained(r *diagnose.Rule) explainedRule {
	e := explainedRule{ID: r.ID, Name: r.Name, Title: r.Title, Severities: r.Severities, Needs: []string{}, Since: r.Since,
		What: unfold(r.What), Why: unfold(r.Why), How: unfold(r.How), Remedy: unfold(r.Remedy), FalseAlarms: unfold(r.FalseAlarms)}
	for _, f := range r.Needs {
		e.Needs = append(e.Needs, f.String())
	}
	return e
}

// unfold makes running text of what is indented as code is.
func unfold(s string) string { return strings.Join(strings.Fields(s), " ") }

func explain(env Env, list, json bool, ids []string) error {
	if list == (len(ids) > 0) || len(ids) > 1 {
		return usagef("explain", "explain takes the ID of one finding, or --list")
	}
	chosen := manual()
	if !list {
		if c, ok := leak.Find(ids[0]); ok {
			if json {
				return writeJSON(env.Stdout, explainDocument{Schema: schemaExplain, Rules: []explainedRule{}, Causes: []explainedCause{explainedCauseOf(c)}})
			}
			_, err := fmt.Fprint(env.Stdout, c.Text())
			return err
		}
		r, err := ruleByName(ids[0])
		if err != nil {
			return err
		}
		chosen = []*diagnose.Rule{r}
	}
	switch {
	case json:
		doc := explainDocument{Schema: schemaExplain, Causes: []explainedCause{}}
		for _, r := range chosen {
			doc.Rules = append(doc.Rules, explained(r))
		}
		for _, c := range leak.Causes() {
			if list {
				doc.Causes = append(doc.Causes, explainedCauseOf(&c))
			}
		}
		return writeJSON(env.Stdout, doc)
	case !list:
		_, err := fmt.Fprint(env.Stdout, chosen[0].Text())
		return err
	}
	tab := texttab.Table{Columns: []texttab.Column{{Head: "ID"}, {Head: "NAME"}, {Head: "UP TO"}, {Head: "TITLE", Min: 20}}}
	for _, r := range chosen {
		top := ""
		if n := len(r.Severities); n > 0 {
			top = r.Severities[n-1].String()
		}
		tab.Text(r.ID, r.Name, top, r.Title)
	}
	for _, c := range leak.Causes() {
		tab.Text(string(c.ID), "", "", c.Title)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// manual are all findings that there are: of recordings, and of traces.
func manual() []*diagnose.Rule { return append(diagnose.Rules(), exectrace.Pages()...) }

func ruleByName(name string) (*diagnose.Rule, error) {
	for _, r := range exectrace.Pages() {
		if strings.EqualFold(name, r.ID) || strings.EqualFold(name, r.Name) {
			return r, nil
		}
	}
	if r, ok := diagnose.Find(name); ok {
		return r, nil
	}
	err := fmt.Errorf("no finding is called %s", name)
	if id, ok := leak.Suggest(name); ok {
		return nil, hinted(err, "did you mean %s? heapwright explain --list lists them all", id)
	}
	if id, ok := diagnose.Suggest(name); ok {
		return nil, hinted(err, "did you mean %s? heapwright explain --list lists them all", id)
	}
	return nil, hinted(err, "heapwright explain --list lists them")
}
