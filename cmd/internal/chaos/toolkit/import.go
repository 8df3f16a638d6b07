package toolkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Bounds on what an experiment may be.
const (
	maxActivities = 100
	maxNotes      = 100
	maxWords      = 200 // of a command line
	maxText       = 80  // bytes of a text that is shown
)

// An Imported is what an experiment says to us.
type Imported struct {
	Text []byte // a plan, as planfile reads it
	// Plan is what Text says; nil where it is not complete: the notes say what is missing.
	Plan *chaos.Plan
	// Notes are what was not imported, and what is missing, by path.
	Notes []string
}

// A draft is what an experiment gives of a plan. Its keys are those of the plan's file.
type draft struct {
	Schema  string       `yaml:"schema"`
	Name    string       `yaml:"name,omitempty"`
	Target  *draftTarget `yaml:"target,omitempty"`
	Faults  []draftFault `yaml:"faults,omitempty"`
	Between string       `yaml:"between,omitempty"`
}

type draftTarget struct {
	PID   int    `yaml:"pid,omitempty"`
	Ready string `yaml:"ready,omitempty"`
}

type draftFault struct {
	Name  string `yaml:"name"`
	Kind  string `yaml:"kind"`
	Level string `yaml:"level"`
	Ramp  string `yaml:"ramp,omitempty"`
	Hold  string `yaml:"hold,omitempty"`
}

// Import reads an experiment, JSON or YAML. One that was exported comes back as the plan
// that it was; of others it takes what it can say to us, and tells what it leaves out.
func Import(text []byte) (*Imported, error) {
	root, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("reading the experiment: %w", err)
	}
	if p := ours(root); p != nil {
		return exported(p)
	}
	r := &reader{configuration: map[string]string{}}
	r.experiment(root)
	out, err := yaml.Marshal(&r.draft)
	if err != nil {
		return nil, fmt.Errorf("writing the plan: %w", err)
	}
	plan, err := planfile.Parse("imported.yaml", out)
	var problems *strictyaml.Errors
	if errors.As(err, &problems) {
		for _, p := range problems.Problems {
			r.note(p.Key, "%s", p.Text)
		}
	}
	return &Imported{Text: append(r.head(), out...), Plan: plan, Notes: r.notes}, nil
}

// decode reads a document into maps, lists and values.
func decode(text []byte) (root map[string]any, err error) {
	if len(text) > strictyaml.MaxFile {
		return nil, fmt.Errorf("the file is larger than %d KiB: that is no experiment", strictyaml.MaxFile>>10)
	}
	// The library panics where it believes itself to be wrong.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("this is not YAML: %v", r)
		}
	}()
	d := json.NewDecoder(bytes.NewReader(text))
	if d.Decode(&root) == nil && !d.More() {
		return root, nil
	}
	root = nil
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("this is neither JSON nor YAML: %s", strictyaml.Clip(strings.Join(strings.Fields(err.Error()), " "), 200))
	}
	if root == nil {
		return nil, errors.New("there is nothing in the file")
	}
	return root, nil
}

// ours is the plan in our extension, as JSON; nil where there is none.
func ours(root map[string]any) []byte {
	list, _ := root["extensions"].([]any)
	for _, x := range list {
		e, _ := x.(map[string]any)
		if e["name"] == extensionName && e["schema"] == chaos.PlanSchema && e["plan"] != nil {
			if text, err := json.Marshal(e["plan"]); err == nil {
				return text
			}
		}
	}
	return nil
}

// exported reads a plan that was exported. Somebody may have written to it since.
func exported(text []byte) (*Imported, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := new(chaos.Plan)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("reading the plan in the extension %s: %w", extensionName, err)
	}
	out, err := planfile.Format(p)
	if err != nil {
		return nil, fmt.Errorf("reading the plan in the extension %s: %w", extensionName, err)
	}
	plan, err := planfile.Parse("imported.yaml", out)
	if err != nil {
		return nil, fmt.Errorf("reading the plan in the extension %s: %w", extensionName, err)
	}
	return &Imported{Text: out, Plan: plan}, nil
}

// A reader takes from an experiment what a plan can say.
type reader struct {
	draft         draft
	configuration map[string]string
	notes         []string
}

func (r *reader) note(at, format string, args ...any) {
	if len(r.notes) >= maxNotes {
		return
	}
	text := fmt.Sprintf(format, args...)
	if at != "" {
		text = at + ": " + text
	}
	r.notes = append(r.notes, clean(text, 300))
}

// clean makes a text one line that can be shown.
func clean(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '_'
		}
		return c
	}, s)
	return strictyaml.Clip(s, most)
}

// head is the notes as a comment.
func (r *reader) head() []byte {
	var b bytes.Buffer
	b.WriteString("# Imported from an experiment of the Chaos Toolkit.\n")
	for _, n := range r.notes {
		fmt.Fprintf(&b, "# - %s\n", n)
	}
	return b.Bytes()
}

func (r *reader) experiment(root map[string]any) {
	r.draft.Schema = chaos.PlanSchema
	r.configure(root["configuration"])
	r.draft.Name = clean(strings.TrimSpace(r.text(root["title"])), maxText)
	r.hypothesis(root["steady-state-hypothesis"])
	method, _ := root["method"].([]any)
	if len(method) > maxActivities {
		r.note("method", "%d activities are more than %d; the rest was not read", len(method), maxActivities)
		method = method[:maxActivities]
	}
	for i, m := range method {
		r.activity(fmt.Sprintf("method[%d]", i), m)
	}
	if list, _ := root["rollbacks"].([]any); len(list) > 0 {
		r.note("rollbacks", "not imported: each fault undoes itself")
	}
	for _, key := range []string{"secrets", "controls", "runtime", "contributions", "extensions"} {
		if root[key] != nil {
			r.note(key, "not imported")
		}
	}
}

// configure reads what is the same wherever the experiment runs.
func (r *reader) configure(v any) {
	all, _ := v.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		switch c := all[k].(type) {
		case string:
			r.configuration[k] = c
		case float64, int, bool:
			r.configuration[k] = fmt.Sprint(c)
		case map[string]any:
			if d, ok := c["default"]; ok {
				r.configuration[k] = fmt.Sprint(d)
				r.note("configuration."+clean(k, maxText), "its default was taken")
				continue
			}
			r.note("configuration."+clean(k, maxText), "not imported: it is known when the experiment runs")
		}
	}
}

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9_.-]+)\}`)

// text is a value as a text, with what is configured filled in.
func (r *reader) text(v any) string {
	var s string
	switch c := v.(type) {
	case nil:
		return ""
	case string:
		s = c
	case float64, int, bool:
		s = fmt.Sprint(c)
	}
	return strictyaml.Clip(variable.ReplaceAllStringFunc(s, func(m string) string {
		if value, ok := r.configuration[m[2:len(m)-1]]; ok {
			return value
		}
		return m
	}), 4<<10)
}

func (r *reader) hypothesis(v any) {
	h, _ := v.(map[string]any)
	probes, _ := h["probes"].([]any)
	if len(probes) > maxActivities {
		probes = probes[:maxActivities]
	}
	for i, p := range probes {
		at := fmt.Sprintf("steady-state-hypothesis.probes[%d]", i)
		a, _ := p.(map[string]any)
		provider, _ := a["provider"].(map[string]any)
		url := r.text(provider["url"])
		method := strings.ToUpper(r.text(provider["method"]))
		switch {
		case r.text(provider["type"]) != "http":
			r.note(at, "not imported: no criterion is what %s finds out", r.what(a))
		case method != "" && method != "GET" || number(a["tolerance"]) != 200:
			r.note(at, "not imported: a readiness URL is asked by GET and answers 200")
		case r.draft.Target != nil:
			r.note(at, "not imported: there is one readiness URL, and it is %s", clean(r.draft.Target.Ready, maxText))
		case !strings.HasPrefix(url, "http://"):
			r.note(at, "not imported: %s is no URL with http://", clean(url, maxText))
		default:
			r.draft.Target = &draftTarget{Ready: url}
		}
	}
}

// what is an activity in a few words.
func (r *reader) what(a map[string]any) string {
	name := r.text(a["name"])
	if name == "" {
		name = "it"
	}
	return strconv.Quote(clean(name, maxText))
}

// number is a value that is one; -1 for others.
func number(v any) float64 {
	switch n := v.(type) {
	case float64:
		return n
	case int:
		return float64(n)
	}
	return -1
}

// activity takes a fault from an activity of the method.
func (r *reader) activity(at string, v any) {
	a, ok := v.(map[string]any)
	if !ok {
		r.note(at, "this is no activity")
		return
	}
	if p, _ := a["pauses"].(map[string]any); p != nil {
		if s := max(number(p["before"]), number(p["after"])); s > 0 && s < 3600 {
			r.draft.Between = time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
		}
	}
	if a["ref"] != nil {
		r.note(at, "not imported: the hypothesis is looked at all the time")
		return
	}
	if r.text(a["type"]) == "probe" {
		r.note(at, "not imported: %s is a probe, and the hypothesis is looked at all the time", r.what(a))
		return
	}
	provider, _ := a["provider"].(map[string]any)
	switch r.text(provider["type"]) {
	case "process":
		r.process(at, a, provider)
	case "python":
		r.python(at, a, provider)
	default:
		r.note(at, "not imported: no fault is what %s does", r.what(a))
	}
}

// words are the arguments of a process: a list, a command line, or flags with values.
func (r *reader) words(v any) []string {
	var out []string
	switch c := v.(type) {
	case string:
		out = strings.Fields(r.text(c))
	case []any:
		for _, x := range c {
			out = append(out, r.text(x))
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(c)) {
			out = append(out, k, r.text(c[k]))
		}
	}
	return out[:min(len(out), maxWords)]
}

// process takes a fault from a program whose arguments are known.
func (r *reader) process(at string, a, provider map[string]any) {
	args := r.words(provider["arguments"])
	switch program := path.Base(r.text(provider["path"])); program {
	case "stress-ng", "stress":
		r.stress(at, a, args)
	case "heapwright":
		if len(args) > 0 && args[0] == "stress" {
			r.note(at, "not imported: it runs a plan of its own, %s, which is one already", clean(args[len(args)-1], maxText))
			return
		}
		r.note(at, "not imported: no fault is what %s does", r.what(a))
	default:
		r.note(at, "not imported: what %s does, %s, is not known here", r.what(a), strconv.Quote(clean(program, maxText)))
	}
}

// stress takes a fault from a command line of stress or stress-ng.
func (r *reader) stress(at string, a map[string]any, args []string) {
	flags := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			continue
		}
		if !ok && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			value = args[i]
		}
		flags[strings.TrimLeft(name, "-")] = value
	}
	get := func(names ...string) string {
		for _, n := range names {
			if v, ok := flags[n]; ok {
				return v
			}
		}
		return ""
	}
	hold := get("timeout", "t")
	if workers := get("vm", "m"); workers != "" {
		r.memory(at, a, workers, get("vm-bytes"), hold)
	}
	if get("cpu", "c") != "" {
		r.note(at, "not imported: %s burns CPU, and none of the faults does; cpu.quota takes it away, and says how much", r.what(a))
	}
	if get("vm", "m", "cpu", "c") == "" {
		r.note(at, "not imported: %s loads neither memory nor CPU", r.what(a))
	}
}

// memory adds a sibling that takes what some workers do.
func (r *reader) memory(at string, a map[string]any, workers, size, hold string) {
	n, err := strconv.Atoi(workers)
	if err != nil || n < 1 || n > 1<<13 {
		r.note(at, "not imported: %s is no number of workers", strconv.Quote(clean(workers, maxText)))
		return
	}
	if strings.HasSuffix(size, "%") {
		r.note(at, "not imported: %s is a share of the machine's memory; shares here are of the target's headroom", clean(size, maxText))
		return
	}
	bytes, ok := parseSize(size)
	if !ok {
		r.note(at, "not imported: %s is no size", strconv.Quote(clean(size, maxText)))
		return
	}
	f := draftFault{Name: r.name(a), Kind: string(chaos.Sibling), Level: strconv.FormatFloat(bytes*float64(n), 'f', 0, 64), Ramp: "0s"}
	if d, ok := parseTime(hold); ok {
		f.Hold = d.String()
	} else if hold != "" {
		r.note(at, "%s is no duration; the default was taken", strconv.Quote(clean(hold, maxText)))
	}
	r.note(at, "taken as a sibling in the target's own cgroup, which stress-ng is in only when it is started there")
	r.draft.Faults = append(r.draft.Faults, f)
}

var notOfName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// name makes a fault's name of an activity's that no other has.
func (r *reader) name(a map[string]any) string {
	base := strings.Trim(notOfName.ReplaceAllString(strictyaml.Clip(r.text(a["name"]), 60), "-"), "-._")
	if base == "" {
		base = "fault"
	}
	name := base
	for n := 2; slices.ContainsFunc(r.draft.Faults, func(f draftFault) bool { return f.Name == name }); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// python takes a fault from a function that is known.
func (r *reader) python(at string, a, provider map[string]any) {
	module, f := r.text(provider["module"]), r.text(provider["func"])
	args, _ := provider["arguments"].(map[string]any)
	switch {
	case module == "chaosk8s.chaosmesh.stress.faults" && f == "stress_memory":
		workers := r.text(args["workers"])
		if workers == "" {
			workers = "1"
		}
		r.memory(at, a, workers, r.text(args["size"]), r.text(args["duration"]))
	case module == "chaosk8s.chaosmesh.stress.faults" && f == "stress_cpu":
		r.note(at, "not imported: %s burns CPU, and none of the faults does; cpu.quota takes it away, and says how much", r.what(a))
	case module == "chaosk8s.chaosmesh.network.faults":
		r.note(at, "not imported: %s is about the network of a pod; proxy.delay stands before one dependency, whose address is not said", r.what(a))
	default:
		r.note(at, "not imported: what %s does, %s.%s, is not known here", r.what(a), clean(module, maxText), clean(f, maxText))
	}
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKmMgG]?)(i?)[bB]?$`)

// parseSize reads a size as stress-ng and Chaos Mesh do: units are powers of 1024.
func parseSize(s string) (float64, bool) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	v *= map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[strings.ToLower(m[2])]
	return v, err == nil && v >= 1 && v < 1<<50
}

// parseTime reads a duration as stress-ng does: a number is seconds.
func parseTime(s string) (time.Duration, bool) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second)), true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}
