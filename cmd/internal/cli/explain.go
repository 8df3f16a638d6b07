package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

func explainCommand() command {
	var list, json bool
	return command{
		use:   "explain ID | --list",
		short: "the manual page of a finding",
		long: `
Prints what a finding means, why it matters, how it is decided, what to do, and
when it is a false alarm. ID is that of a finding (HW1001) or its name.`,
		example: `
  heapwright explain HW1001
  heapwright explain --list`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&list, "list", false, "list all findings")
			jsonFlag(f, &json)
		},
		complete: func(context.Context, Env, []string) []string {
			var out []string
			for _, r := range diagnose.Rules() {
				out = append(out, r.ID+"\t"+r.Title)
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
	chosen := diagnose.Rules()
	if !list {
		r, err := ruleByName(ids[0])
		if err != nil {
			return err
		}
		chosen = []*diagnose.Rule{r}
	}
	switch {
	case json:
		doc := explainDocument{Schema: schemaExplain}
		for _, r := range chosen {
			doc.Rules = append(doc.Rules, explained(r))
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
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

func ruleByName(name string) (*diagnose.Rule, error) {
	if r, ok := diagnose.Find(name); ok {
		return r, nil
	}
	err := fmt.Errorf("no finding is called %s", name)
	if id, ok := diagnose.Suggest(name); ok {
		return nil, hinted(err, "did you mean %s? heapwright explain --list lists them all", id)
	}
	return nil, hinted(err, "heapwright explain --list lists them")
}
