package api

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/record"
)

// elsewhere are types that other pages describe.
var elsewhere = []reflect.Type{
	reflect.TypeFor[diagnose.Finding](), reflect.TypeFor[record.Process](), reflect.TypeFor[record.Sample](), reflect.TypeFor[record.Frame](),
	reflect.TypeFor[diagnose.Evidence](), reflect.TypeFor[forecast.Outlook](), reflect.TypeFor[forecast.Prediction](), reflect.TypeFor[forecast.Plan](),
}

// keys are the paths of all keys that a type has in JSON, in the words of the manual.
func keys(t reflect.Type, prefix string, into map[string]bool, within []reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice && prefix != "" {
			prefix = strings.TrimSuffix(prefix, ".") + "[]."
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(elsewhere, t) || slices.Contains(within, t) || t == reflect.TypeFor[time.Time]() || t.Implements(reflect.TypeFor[json.Marshaler]()) {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			keys(f.Type, prefix, into, within)
		case f.IsExported() && name != "" && name != "-":
			into[prefix+name] = true
			keys(f.Type, prefix+name+".", into, append(within, t))
		}
	}
}

// The manual has every key of every document, and no others.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(b), "\n## ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name] = text
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_0-9.\\[\\]]+)` \\| (string|integer|number|boolean|object|array|map)")
	for section, docs := range map[string][]any{
		"Errors": {ErrorDocument{}}, "session": {SessionDocument{}}, "processes": {ProcessesDocument{}}, "series": {SeriesDocument{}}, "cycles": {CyclesDocument{}},
		"findings": {FindingsDocument{}}, "events": {EventsDocument{}}, "explain/ID": {ExplainDocument{}}, "snapshots": {SnapshotsDocument{}, SnapshotDocument{}},
		"profile": {FlameDocument{}}, "goroutines": {GoroutinesDocument{}}, "experiments": {ExperimentsDocument{}}, "oom": {OOMsDocument{}}, "alerts": {AlertsDocument{}}, "status": {StatusDocument{}},
		"change, undo": {ChangeDocument{}}, "live": {LiveSample{}}, "forecast": {ForecastDocument{}}, "plan": {PlanDocument{}},
	} {
		want, got := map[string]bool{}, map[string]bool{}
		for _, d := range docs {
			keys(reflect.TypeOf(d), "", want, []reflect.Type{reflect.TypeFor[alert.Rule]()})
		}
		for _, m := range row.FindAllStringSubmatch(sections[section], -1) {
			got[m[1]] = true
		}
		if section == "forecast" || section == "plan" {
			delete(got, "schema") // of a type that another page describes
		}
		for k := range want {
			if !got[k] {
				t.Errorf("%s: %s is not in the manual", section, k)
			}
			delete(got, k)
		}
		for k := range got {
			t.Errorf("%s: the manual has %s, and the document has not", section, k)
		}
	}
	// Every address has a section, and every document a schema that is named.
	for path := range (&server{}).routes() {
		name := strings.ReplaceAll(path, "{id}", "ID")
		if _, ok := sections[name]; !ok && !strings.Contains(string(b), "`"+name+"`") && name != "change" {
			t.Errorf("%s is not in the manual", name)
		}
	}
	for _, schema := range []string{schemaSession, schemaProcesses, schemaProcess, schemaSeries, schemaCycles, schemaFindings, schemaEvents, schemaExplain, schemaSnapshots, schemaSnapshot,
		schemaProfile, schemaGoroutines, schemaForecast, schemaFront, schemaPlan, schemaExperiments, schemaOOMs, schemaAlerts, schemaStatus, schemaChange} {
		if !strings.Contains(string(b), "`"+schema+"`") {
			t.Errorf("%s is not in the manual", schema)
		}
	}
}
