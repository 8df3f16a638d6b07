// Package settingignored finds values of GOGC and GOMAXPROCS that the runtime
// does not understand, and drops without a word.
package settingignored

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const id = "HW1009"

// Rule is HW1009.
var Rule = rule.Rule{
	ID:         id,
	Name:       "settingignored",
	Title:      "The value of GOGC or GOMAXPROCS is not understood and ignored",
	Severities: []rule.Severity{rule.Warning},
	What:       `The process was started with a GOGC that is neither "off" nor a whole number, or a GOMAXPROCS that is not a whole number above 0.`,
	Why:        `The runtime says nothing: GOGC=200% is GOGC=100, GOMAXPROCS=2.5 is no GOMAXPROCS. A value that GOMEMLIMIT does not understand is fatal; these are not.`,
	How: `The environment that the process was started with is read the way the runtime reads it (runtime/mgcpacer.go, readGOGC;
		runtime/proc.go, schedinit).`,
	Remedy:      `Write a number: GOGC=200, GOMAXPROCS=2.`,
	FalseAlarms: `The program reads the variable itself and calls debug.SetGCPercent or runtime.GOMAXPROCS.`,
	Since:       "0.1",
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	var bad []string
	var evidence []rule.Evidence
	env := v.Process.GoEnv
	if s := env["GOGC"]; s != "" && s != "off" && !runtimeInt(s) {
		bad = append(bad, "GOGC="+rule.Quote(s))
		if now, ok := v.GOGC(); ok {
			evidence = append(evidence, rule.Percent("gogc_percent", now, v.Source(record.FieldGOGCPercent)))
		}
	}
	if s := env["GOMAXPROCS"]; s != "" && (!runtimeInt(s) || strings.HasPrefix(s, "-") || strings.Trim(s, "0") == "") {
		bad = append(bad, "GOMAXPROCS="+rule.Quote(s))
		if now, ok := v.Last(record.FieldGOMAXPROCS); ok {
			evidence = append(evidence, rule.Count("gomaxprocs", now, v.Source(record.FieldGOMAXPROCS)))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	what := strings.Join(bad, " and ")
	evidence = append([]rule.Evidence{rule.Count("settings_ignored", float64(len(bad)), "environment")}, evidence...)
	return []rule.Finding{{
		ID: id, Severity: rule.Warning, Confidence: rule.High, ConfidenceReason: "the environment was read and the runtime's own rule applied",
		Title:    "Not understood and ignored: " + what,
		Evidence: evidence,
		Cause:    fmt.Sprintf("The runtime reads whole numbers only (GOGC also \"off\"). It ignores %s without a message and takes the default.", what),
		Remedy:   "Write a whole number: GOGC=200, GOMAXPROCS=2.",
	}}
}

// runtimeInt reports whether the runtime reads s as a 32-bit integer
// (runtime/mgcpacer.go, readGOGC). Releases before 1.26 refuse a leading plus,
// which is not told apart here.
func runtimeInt(s string) bool {
	_, err := strconv.ParseInt(s, 10, 32)
	return err == nil
}
