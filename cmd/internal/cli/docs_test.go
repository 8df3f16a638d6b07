package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

const docs = "../../../docs"

// The manual is made of the command tree, and committed.
func TestPages(t *testing.T) {
	dir := filepath.Join(docs, "commands")
	pages := Pages()
	if update() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range pages {
		file := filepath.Join(dir, name)
		if update() {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("docs/commands/%s is stale: go generate ./internal/cli", name)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := pages[f.Name()]; !ok {
			t.Errorf("docs/commands/%s is of no command", f.Name())
		}
	}
}

func TestEveryCommandIsDocumented(t *testing.T) {
	f := newFakeEnv()
	for _, c := range Tree(f.Env).Commands() {
		if c.Hidden || c.Name() == "completion" {
			continue
		}
		if c.Example == "" {
			t.Errorf("%s has no examples", c.Name())
		}
		for _, l := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			if len(l) > 80 {
				t.Errorf("%s: %d columns: %s", c.Name(), len(l), l)
			}
		}
		// These show for as long as they run, and end with nothing to say.
		lasting := slices.Contains([]string{"demo", "top", "serve"}, c.Name())
		if !lasting && c.Flags().Lookup("json") == nil {
			t.Errorf("%s has no --json", c.Name())
		}
		f.run(t, ExitOK, c.Name(), "--help")
		at80(t, f.out.String())
		for _, s := range c.Commands() {
			f.run(t, ExitOK, c.Name(), s.Name(), "--help")
			at80(t, f.out.String())
			if s.Example == "" || s.Flags().Lookup("json") == nil {
				t.Errorf("%s has no examples, or no --json", s.CommandPath())
			}
		}
	}
}

// documented reads the keys of a document from its table in docs/cli-json.md.
func documented(t *testing.T, schema string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(docs, "cli-json.md"))
	if err != nil {
		t.Fatal(err)
	}
	heading := "`" + schema + "`\n"
	if !strings.Contains(schema, "/") {
		heading = schema + "\n"
	}
	_, section, ok := strings.Cut(string(b), "\n## "+heading)
	if !ok {
		t.Fatalf("docs/cli-json.md says nothing of %s", schema)
	}
	if i := strings.Index(section, "\n## "); i >= 0 {
		section = section[:i]
	}
	keys := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(section, -1) {
		if keys[m[1]] != "" {
			t.Errorf("%s: %s is documented twice", schema, m[1])
		}
		keys[m[1]] = strings.TrimSpace(m[2])
	}
	return keys
}

// compare holds a document against what is documented: every key with its type,
// and nothing else.
func compare(t *testing.T, schema string, keys, seen map[string]string, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		switch want := keys[path]; {
		case strings.HasPrefix(want, "map") || strings.HasPrefix(want, "object") && !documentsBelow(keys, path):
			return // its keys are data, or documented elsewhere
		case want == "quantity" && path != "":
			compareQuantity(t, schema, path, v)
			return
		case want == "forecast" && path != "":
			compare(t, schema+" "+path, documentedHere(t, "forecast"), map[string]string{}, "", v)
			return
		}
		for k, x := range v {
			p := strings.TrimPrefix(path+"."+k, ".")
			want, ok := keys[p]
			if !ok {
				t.Errorf("%s: %s is not documented", schema, p)
				continue
			}
			kind := kindOf(x)
			base, orNull := strings.CutSuffix(want, " or null")
			base = strings.TrimSuffix(base, ", may be absent")
			if n, ok := x.(json.Number); ok && base == "integer" && !strings.ContainsAny(n.String(), ".eE") {
				kind = "integer"
			}
			switch {
			case kind == "null" && !orNull:
				t.Errorf("%s: %s is null, which is not documented", schema, p)
			case kind != "null" && kind != base && !(slices.Contains([]string{"map", "quantity", "forecast"}, base) && kind == "object"):
				t.Errorf("%s: %s is documented as %s and is a %s", schema, p, base, kind)
			}
			if kind != "null" || seen[p] == "" {
				seen[p] = kind
			}
			compare(t, schema, keys, seen, p, x)
		}
	case []any:
		for _, x := range v {
			compare(t, schema, keys, seen, path+"[]", x)
		}
	}
}

// documentsBelow reports whether the keys of an object are in the same table.
func documentsBelow(keys map[string]string, path string) bool {
	for k := range keys {
		if strings.HasPrefix(k, path+".") {
			return true
		}
	}
	return false
}

// documentedHere is documented, from wherever the test is.
func documentedHere(t *testing.T, section string) map[string]string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(sourceDir); err != nil {
		t.Fatal(err)
	}
	defer os.Chdir(here)
	return documented(t, section)
}

// compareQuantity holds an estimate against the table that documents all of them.
func compareQuantity(t *testing.T, schema, path string, v map[string]any) {
	t.Helper()
	for _, k := range []string{"estimate", "low", "high"} {
		if kind := kindOf(v[k]); kind != "number" && kind != "null" {
			t.Errorf("%s: %s.%s is a %s", schema, path, k, kind)
		}
	}
	if len(v) != 3 {
		t.Errorf("%s: %s has the keys of no quantity: %v", schema, path, v)
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// decode reads JSON with its numbers as they are written.
func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

// What --json prints and what docs/cli-json.md says agree, both ways.
func TestJSONContract(t *testing.T) {
	leak, orders, users := save(t, leaking()), save(t, busy("orders", 4123)), save(t, busy("users", 4207))
	tuned, _ := tuneHost()
	undo, changer := undoHost()
	changer.undo = map[int]error{77: &live.NoLeaseError{PID: 77}}
	stressed, _ := stressHost(t)
	experiments := contractHost(t)
	put(t, "orders.yaml", stressPlan)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		schema string
		env    *fakeEnv
		want   ExitCode
		runs   [][]string
	}{
		{schemaPS, psHost(), ExitOK, [][]string{{"ps", "--all"}, {"ps", "--for", "1ms"}}},
		{schemaRecord, recordHost(), ExitOK, [][]string{{"record", "4123", "--for", "50ms"}, {"record", "--", "true"}}},
		{schemaProfile, profileHost(), ExitOK, [][]string{
			{"profile", "4123"}, {"profile", "4123", "--type", "mutex"}, {"profile", "4123", "--type", "goroutine", "--top=9"}}},
		{schemaDiagnose, newFakeEnv(), ExitOK, [][]string{{"diagnose", leak}}},
		{schemaEscapes, newFakeEnv(), ExitOK, nil},
		{schemaLeaks, newFakeEnv(), ExitFinding, [][]string{{"leaks", leak}}},
		{schemaPredict, tuned, ExitOK, [][]string{{"predict", orders, "-o", "x.svg"}, {"predict", orders, "--container-limit", "off", "--gogc", "50", "--memory-limit", "70MiB"}}},
		{schemaCheck, tuned, ExitFinding, // the simulated server is not paced as Go is
			[][]string{{"predict", orders, "--check", orders}}},
		{schemaTune, tuned, ExitOK, [][]string{
			{"tune", orders, "--apply", "env", "-o", "x.env"}, {"tune", orders, "--pause", "10%", "--assist", "10%"}}},
		{schemaSplit, tuned, ExitOK, [][]string{{"tune", "--budget", "1GiB", "--apply", "env", orders, users}}},
		{schemaUndo, undo, ExitCouldNotRun, [][]string{{"undo", "--all"}}},
		{schemaChanges, undo, ExitOK, [][]string{{"undo", "--list"}}},
		{schemaHistory, undo, ExitOK, [][]string{{"undo", "--history"}}},
		{schemaCompare, experiments, ExitOK, [][]string{{"compare", "grid.yaml"}, {"compare", "tea.yaml"}}},
		{schemaVerify, experiments, ExitOK, [][]string{{"compare", "verify", "grid.hwcmp"}}},
		{schemaExperiment, experiments, ExitOK, [][]string{{"compare", "--check", "grid.yaml"}}},
		{schemaStressCheck, stressed, ExitOK, [][]string{{"stress", "--check", "orders.yaml"}}},
		{schemaStressPlan, stressed, ExitOK, [][]string{{"stress", "orders.yaml", "--dry-run"}}},
		{schemaStressExport, stressed, ExitOK, [][]string{{"stress", "export", "orders.yaml", "-o", "x.json"}}},
		{schemaStressFaults, stressed, ExitOK, [][]string{{"stress", "faults"}}},
		{schemaExplain, newFakeEnv(), ExitOK, [][]string{{"explain", "--list"}, {"explain", "HW1001"}}},
		{schemaVersion, newFakeEnv(), ExitOK, [][]string{{"version"}}},
	} {
		t.Run(tc.schema, func(t *testing.T) {
			t.Chdir(sourceDir)
			keys, seen := documented(t, tc.schema), map[string]string{}
			t.Chdir(here)
			for _, args := range tc.runs {
				// The flag goes before a command.
				tc.env.run(t, tc.want, append([]string{args[0], "--json"}, args[1:]...)...)
				var doc map[string]any
				decode(t, tc.env.out.Bytes(), &doc)
				if doc["schema"] != tc.schema {
					t.Errorf("schema is %v", doc["schema"])
				}
				compare(t, tc.schema, keys, seen, "", doc)
			}
			switch tc.schema {
			case schemaExperiment:
				experiments.run(t, ExitCouldNotRun, "compare", "--json", "--check", "bad.yaml")
				var doc map[string]any
				decode(t, experiments.out.Bytes(), &doc)
				compare(t, tc.schema, keys, seen, "", doc)
			case schemaStressCheck:
				stressed.run(t, ExitCouldNotRun, "stress", "--json", "--check", "bad.yaml")
				var doc map[string]any
				decode(t, stressed.out.Bytes(), &doc)
				compare(t, tc.schema, keys, seen, "", doc)
			case schemaLeaks:
				compare(t, tc.schema, keys, seen, "", document(t, leaksExample()))
			case schemaEscapes:
				compare(t, tc.schema, keys, seen, "", document(t, escapesExample()))
			case schemaTune:
				compare(t, tc.schema, keys, seen, "", liveDocument(t))
			case schemaSplit:
				doc := newSplit(&tune.Split{}, nil)
				doc.Aside = append(doc.Aside, asideProcess{Name: "idle"})
				compare(t, tc.schema, keys, seen, "", document(t, doc))
			}
			var missing []string
			for k := range keys {
				if seen[k] == "" {
					missing = append(missing, k)
				}
			}
			slices.Sort(missing)
			if len(missing) > 0 {
				t.Errorf("%s: documented, and in none of the documents: %q", tc.schema, missing)
			}
		})
	}
}

// document is a value as --json prints it.
func document(t *testing.T, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	decode(t, b, &doc)
	return doc
}

// liveDocument is that of a change that was taken back.
func liveDocument(t *testing.T) map[string]any {
	t.Helper()
	f, c := tuneHost()
	c.outcome = live.Outcome{Verdict: live.Verdict{Decision: live.TakeBack, Why: "it storms"}, Reverted: back(),
		Status: live.Status{Elapsed: 25 * time.Second, Effective: true, GCCPURatio: 0.4, RSSPeakBytes: 400 * mib}}
	if err := liveTuning(t, f, tuneOptions{yes: true, json: true}); err == nil {
		t.Error("a change that was taken back is no error")
	}
	var doc map[string]any
	decode(t, f.out.Bytes(), &doc)
	return doc
}

func recordHost() *fakeEnv {
	f := newFakeEnv()
	f.serve(4123, "server", ruletest.Server{})
	return f
}

// Units stand in the names of all numbers.
func TestJSONNamesHaveUnits(t *testing.T) {
	plain := regexp.MustCompile(`(^|_)(bytes|seconds|ratio|percent|cores|cycles|count|pid|samples|readings|snapshots|lives|status|hidden|goroutines|gomaxprocs|probability|per_second|line|value|above|address|hour|predicted|measured|uid|cpus|column|seed|pairs|blocks|blocks_to_first_look|n|p|q|ci_low|ci_high|low|high|baseline|autocorrelation|log_ratio_sd|points|days|recordings|killed|warned|withdrawn|alarms|deadlines|inflections|events|generations|format|id|goroutine|open|late|start|end|was|now|oom_score_adj|version|order|left_out|growth_objects|sites_tested|risk)$`)
	for _, schema := range []string{schemaPS, schemaRecord, schemaProfile, schemaDiagnose, schemaEscapes, schemaPredict, schemaCheck,
		schemaTune, schemaSplit, schemaUndo, schemaChanges, schemaHistory, schemaCompare, schemaVerify, schemaExperiment, schemaExplain, schemaVersion, "forecast",
		schemaStress, schemaStressCheck, schemaStressPlan, schemaStressExport, schemaStressFaults,
		schemaForecast, schemaBacktest, schemaTrace, "retention", schemaOOM, schemaOOMList, schemaOOMWatch, schemaLeaks} {
		for key, kind := range documented(t, schema) {
			if !strings.HasPrefix(kind, "number") && !strings.HasPrefix(kind, "integer") && kind != "quantity" {
				continue
			}
			if name := key[strings.LastIndexByte(key, '.')+1:]; !plain.MatchString(name) {
				t.Errorf("%s: %s has no unit", schema, key)
			}
		}
	}
}

// The keys of a quantity are documented once.
func TestQuantityKeys(t *testing.T) {
	keys := documented(t, "quantity")
	b, err := json.Marshal(quantityOf(pacer.Estimate{Estimate: 2, Low: 1, High: math.Inf(1)}))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	decode(t, b, &doc)
	compare(t, "quantity", keys, map[string]string{}, "", doc)
	if len(doc) != len(keys) || doc["high"] != nil {
		t.Errorf("a quantity is %s", b)
	}
}

// processKeys are the keys of a process, which docs/cli-json.md documents once.
func TestProcessKeys(t *testing.T) {
	b, err := json.Marshal(record.Process{GoEnv: map[string]string{"GOGC": "100"}, BuildSettings: map[string]string{"-race": "true"},
		Exe: "x", MainPackage: "x", Module: "x", ModuleVersion: "x", GoVersion: "x", GOEXPERIMENT: "x", GOOS: "x", GOARCH: "x", BuildID: "x",
		User: "x", CgroupPath: "x", ContainerID: "x", PodUID: "x", MemoryLimitBytes: 1, CPUQuotaCores: 1, HostMemoryBytes: 1, HostCPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	decode(t, b, &doc)
	keys, seen := documented(t, "process"), map[string]string{}
	compare(t, "process", keys, seen, "", doc)
	for k := range keys {
		if seen[k] == "" {
			t.Errorf("process: %s is documented and not there", k)
		}
	}
}
