// Package godebug finds keys in GODEBUG that the process's Go release does not
// know, and ignores.
package godebug

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
)

//go:generate go run ./mkkeys zkeys.go go1.20.14 go1.21.13 go1.22.12 go1.23.12 go1.24.13 go1.25.14 go1.26.11 go1.27.4

const (
	id = "HW1008"

	// near is the edit distance up to which a known key is suggested.
	near = 2
	// mostKeys bounds what is looked at: the variable comes from outside.
	mostKeys = 64
)

// A span is the first and the last minor release of Go that know a key.
type span struct{ first, last int }

// Rule is HW1008.
var Rule = rule.Rule{
	ID:         id,
	Name:       "godebug",
	Title:      "GODEBUG holds a key that this Go release does not know",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The process was started with a GODEBUG key that neither its runtime nor its standard library reads.`,
	Why: `Unknown keys are ignored without a message. The setting that somebody believes in, a workaround or a tuning, does nothing.
		Some keys are folklore: Go has never had gcgenerational.`,
	How: `Each key is looked up in a table made from the sources of Go 1.20 to 1.27 (internal/godebugs, the runtime's dbgvars,
		and the names that the standard library asks for); cpu.* is always accepted. A key that no release knows is a warning;
		one that only other releases know is information. The name nearest to it, at most two letters away, is suggested.`,
	Remedy:      `Correct the name, or take the key out.`,
	FalseAlarms: `The program, or a library, reads GODEBUG itself for keys of its own.`,
	Since:       "0.1",
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	env := v.Process.GoEnv["GODEBUG"]
	if env == "" {
		return nil
	}
	minor, versionKnown := v.GoMinor()
	minor = max(firstMinor, min(minor, lastMinor))
	var unknown, elsewhere []string
	var fixes []string
	for i, setting := range strings.Split(env, ",") {
		if i == mostKeys {
			break
		}
		setting = strings.TrimSpace(setting)
		key, _, hasValue := strings.Cut(setting, "=")
		s, ok := known[key]
		switch {
		case setting == "" || strings.HasPrefix(key, "cpu."):
		case ok && !hasValue:
			unknown = append(unknown, key+" without a value")
			fixes = append(fixes, fmt.Sprintf("write %s=1", key))
		case ok && versionKnown && minor < s.first:
			elsewhere = append(elsewhere, fmt.Sprintf("%s is known from Go 1.%d on", key, s.first))
			fixes = append(fixes, fmt.Sprintf("take %s out until the program is built with Go 1.%d", key, s.first))
		case ok && versionKnown && minor > s.last:
			elsewhere = append(elsewhere, fmt.Sprintf("%s is not known after Go 1.%d", key, s.last))
			fixes = append(fixes, fmt.Sprintf("take %s out", key))
		case ok:
		default:
			unknown = append(unknown, rule.Quote(key))
			if n := nearest(key, minor); n != "" {
				fixes = append(fixes, fmt.Sprintf("write %s instead of %s", n, rule.Quote(key)))
			} else {
				fixes = append(fixes, fmt.Sprintf("take %s out: no key has a name like it", rule.Quote(key)))
			}
		}
	}
	if len(unknown)+len(elsewhere) == 0 {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High,
		ConfidenceReason: "the environment was read and compared with the sources of the Go release",
		Evidence:         []rule.Evidence{rule.Count("godebug_keys_ignored", float64(len(unknown)+len(elsewhere)), "environment")},
	}
	if !versionKnown {
		f.Confidence, f.ConfidenceReason = rule.Medium, "the Go version is not known; keys were compared with all releases from 1.20"
	}
	if len(unknown) > 0 {
		f.Severity = rule.Warning
	}
	names := append(unknown, elsewhere...)
	f.Title = "GODEBUG is ignored in part: " + names[0]
	if len(names) > 1 {
		f.Title += fmt.Sprintf(" and %d more", len(names)-1)
	}
	f.Cause = fmt.Sprintf("Go ignores unknown settings in GODEBUG without a message. Here: %s.", strings.Join(names, "; "))
	f.Remedy = "In GODEBUG, " + strings.Join(fixes, "; ") + "."
	return []rule.Finding{f}
}

// nearest returns the key of the release that is fewest edits away from name,
// and at most near of them, or half of the name; "" for none.
func nearest(name string, minor int) string {
	if len(name) > 64 {
		return ""
	}
	best, bestDistance := "", min(near, len(name)/2)+1
	keys := make([]string, 0, len(known))
	for k, s := range known {
		if s.first <= minor && minor <= s.last {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if d := rule.EditDistance(strings.ToLower(name), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}
