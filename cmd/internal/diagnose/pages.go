package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// generated is the first line of every page.
const generated = "<!-- Generated from cmd/internal/diagnose by go generate. Do not edit. -->\n\n"

// Pages returns the manual as Markdown: file name to text, a page a rule and
// README.md, which lists them. more are findings that are none of a recording.
func Pages(more ...*Rule) map[string]string {
	all := slices.Concat(rules, more)
	slices.SortStableFunc(all, func(a, b *Rule) int { return cmp.Compare(a.ID, b.ID) })
	pages := make(map[string]string, len(all)+1)
	var index strings.Builder
	index.WriteString(generated)
	index.WriteString("# Findings\n\n" +
		"What `heapwright diagnose` can say, and of execution traces with `--trace`. `heapwright explain ID` prints the same pages.\n\n" +
		"Severities: *info* is worth knowing, and a healthy service may have it; *warning* is what an expert would act on; " +
		"*critical* means that the service is failing or about to. An ID is never used again for something else.\n")
	group := ""
	for _, r := range all {
		pages[r.ID+".md"] = generated + r.Markdown()
		if g := Group(r.ID); g != group {
			group = g
			fmt.Fprintf(&index, "\n## %s\n\n| ID | name | finding | severities |\n|---|---|---|---|\n", strings.ToUpper(g[:1])+g[1:])
		}
		sev := make([]string, len(r.Severities))
		for i, s := range r.Severities {
			sev[i] = s.String()
		}
		fmt.Fprintf(&index, "| [%s](%s.md) | %s | %s | %s |\n", r.ID, r.ID, r.Name, r.Title, strings.Join(sev, ", "))
	}
	pages["README.md"] = index.String()
	return pages
}

// Group is what the rules with a prefix of an ID are about.
func Group(id string) string {
	switch {
	case strings.HasPrefix(id, "HW1"):
		return "settings"
	case strings.HasPrefix(id, "HW2"):
		return "allocation"
	case strings.HasPrefix(id, "HW3"):
		return "retention"
	case strings.HasPrefix(id, "HW4"):
		return "latency"
	case strings.HasPrefix(id, "HW5"):
		return "execution traces"
	}
	return "the recording"
}
