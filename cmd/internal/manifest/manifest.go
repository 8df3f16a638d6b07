// Package manifest writes a plan down in the form that starts a process: lines
// of an environment, a systemd drop-in, flags for docker, a compose fragment, a
// Kubernetes patch. It applies nothing and reads nothing.
//
// Sizes lose nothing: GOMEMLIMIT goes in whole MiB, rounded down, a container's
// limit as it is. Names come from outside and stand in files that shells and
// YAML parsers read, so one with other characters than the form allows is
// refused, not quoted.
package manifest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
)

// A Kind is a form.
type Kind string

// The kinds.
const (
	Env     Kind = "env"     // NAME=value lines: an .env file, an EnvironmentFile, docker --env-file
	Export  Kind = "export"  // the same for a shell
	Systemd Kind = "systemd" // a drop-in of a unit
	Docker  Kind = "docker"  // docker update, and flags of docker run
	Compose Kind = "compose" // an override file of docker compose
	K8s     Kind = "k8s"     // a strategic-merge patch of a workload
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Env, Export, Systemd, Docker, Compose, K8s} }

// A Target says what a plan is for.
type Target struct {
	// Name is the unit, the container, the compose service or the workload. Env
	// and Export need none.
	Name string
	// Container is the container in a workload's pods; "" is Name.
	Container string
	// Workload is Deployment, StatefulSet or DaemonSet; "" is Deployment.
	Workload  string
	Namespace string // of the workload; "" leaves it to kubectl
	// Source says what the plan was made from, for the comment at the top: "a
	// recording of 30 minutes, api.hwrec". It may hold anything.
	Source string
}

// A NameError says that a name cannot stand in a form.
type NameError struct {
	What, Name string
	Want       string // what it may be
	Field      string // of a Target
}

func (e *NameError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("writing the settings: %s is needed", e.What)
	}
	return fmt.Sprintf("writing the settings: %s cannot be %s: it is %s", e.What, rule.Quote(e.Name), e.Want)
}

// Hint says what to do next.
func (e *NameError) Hint() string {
	return fmt.Sprintf("--name, --container and --namespace take others: %s", e.Want)
}

// A KindError says that there is no such form.
type KindError struct{ Kind Kind }

func (e *KindError) Error() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return fmt.Sprintf("writing the settings: %s is not one of %s", rule.Quote(string(e.Kind)), strings.Join(names, ", "))
}

// Render writes a plan in a form. Errors: *KindError, *NameError.
func Render(kind Kind, t Target, p *tune.Plan) ([]byte, error) {
	render, ok := map[Kind]func(*page, Target, *tune.Plan) error{
		Env: env, Export: export, Systemd: systemd, Docker: docker, Compose: compose, K8s: k8s,
	}[kind]
	if !ok {
		return nil, &KindError{kind}
	}
	out := &page{}
	out.head(t, p)
	if err := render(out, t, p); err != nil {
		return nil, err
	}
	return []byte(out.text.String()), nil
}

// A page is a file as it is written.
type page struct{ text strings.Builder }

func (o *page) line(format string, args ...any) {
	fmt.Fprintf(&o.text, format, args...)
	o.text.WriteByte('\n')
}

// comment writes lines that no form reads. Text from outside is cleaned, so that
// it stays in its comment.
func (o *page) comment(format string, args ...any) {
	o.line("# %s", clean(fmt.Sprintf(format, args...)))
}

// clean makes text one line without characters that move a cursor or end a
// comment in any of the forms.
func clean(text string) string {
	const longest = 400
	var b strings.Builder
	for i, r := range text {
		if i >= longest {
			b.WriteString("...")
			break
		}
		// A backslash at the end joins lines, in systemd's files and in a shell's.
		if r == utf8.RuneError || r == '\\' || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// head says what made the file, from what, and what to expect.
func (o *page) head(t Target, p *tune.Plan) {
	source := t.Source
	if source == "" {
		source = "a recording"
	}
	o.comment("Made by heapwright tune from %s.", source)
	if p.Keep {
		o.comment("These settings are in effect, and as good as any that was replayed: nothing has to change.")
	}
	now, then := p.Current, p.Expected
	o.comment("Expected: GC CPU of %.3g cores (%.3g to %.3g), now %.3g; RSS up to %s (%s to %s), now %s.",
		then.GCCPUCores.Estimate, then.GCCPUCores.Low, then.GCCPUCores.High, now.GCCPUCores.Estimate,
		rule.FormatBytes(then.RSSPeakBytes.Estimate), rule.FormatBytes(then.RSSPeakBytes.Low), rule.FormatBytes(then.RSSPeakBytes.High), rule.FormatBytes(now.RSSPeakBytes.Estimate))
	for _, name := range p.SetInCode {
		o.comment("Attention: %s in effect is not what the process was started with. If the program sets it in code, or a library such as automemlimit does, then that wins over this file: take it out there.", name)
	}
}

// A variable is one of the environment.
type variable struct{ name, value string }

// variables are what the runtime reads. Their values have digits and letters
// only, and need no quotes anywhere.
func variables(p *tune.Plan) []variable {
	out := []variable{{"GOGC", "off"}, {"GOMEMLIMIT", "off"}}
	if g := p.Settings.GOGCPercent; g >= 0 {
		out[0].value = fmt.Sprint(g)
	}
	if m := p.Settings.GOMEMLIMITBytes; m >= 0 && m < pacer.NoMemoryLimit {
		out[1].value = goLimit(uint64(m))
	}
	if n := p.Settings.GOMAXPROCS; n > 0 {
		out = append(out, variable{"GOMAXPROCS", fmt.Sprint(n)})
	}
	return out
}

// goLimit writes GOMEMLIMIT as the runtime reads it (runtime/string.go,
// parseByteCount): in MiB, rounded down, and below one in bytes.
func goLimit(bytes uint64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%dB", bytes)
	}
	return fmt.Sprintf("%dMiB", bytes>>20)
}

func env(o *page, _ Target, p *tune.Plan) error {
	for _, v := range variables(p) {
		o.line("%s=%s", v.name, v.value)
	}
	return nil
}

func export(o *page, _ Target, p *tune.Plan) error {
	for _, v := range variables(p) {
		o.line("export %s=%s", v.name, v.value)
	}
	return nil
}

// A charset is what a name may hold.
type charset struct {
	want    string
	longest int
	first   func(byte) bool
	rest    func(byte) bool
	last    func(byte) bool
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func lower(c byte) bool  { return 'a' <= c && c <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func among(set string, more ...func(byte) bool) func(byte) bool {
	return func(c byte) bool {
		return strings.IndexByte(set, c) >= 0 || slices.ContainsFunc(more, func(f func(byte) bool) bool { return f(c) })
	}
}

var (
	// unitName is what systemd takes (systemd.unit(5)), without the backslash of
	// escapes, and not as an option.
	unitName = charset{"letters, digits and any of :_.@-", 200, among("_", letter, digit), among(":_.@-", letter, digit), among(":_.@-", letter, digit)}
	// containerName is docker's (daemon/names/names.go) and compose's for services.
	containerName = charset{"letters, digits and any of _.-", 128, among("", letter, digit), among("_.-", letter, digit), among("_.-", letter, digit)}
	// labelName and objectName are those of Kubernetes (RFC 1123).
	labelName  = charset{"lower-case letters, digits and -", 63, among("", lower, digit), among("-", lower, digit), among("", lower, digit)}
	objectName = charset{"lower-case letters, digits, - and .", 253, among("", lower, digit), among("-.", lower, digit), among("", lower, digit)}
)

func (c charset) check(field, what, name string) error {
	bad := &NameError{What: what, Name: name, Want: fmt.Sprintf("%s, at most %d of them", c.want, c.longest), Field: field}
	if name == "" || len(name) > c.longest || !c.first(name[0]) || !c.last(name[len(name)-1]) {
		return bad
	}
	for i := range len(name) {
		if !c.rest(name[i]) {
			return bad
		}
	}
	return nil
}

func systemd(o *page, t Target, p *tune.Plan) error {
	unit := t.Name
	if err := unitName.check("name", "the name of the unit", unit); err != nil {
		return err
	}
	if !strings.HasSuffix(unit, ".service") {
		unit += ".service"
	}
	o.comment("Put it at /etc/systemd/system/%s.d/50-heapwright.conf, then: systemctl daemon-reload; systemctl restart %s", unit, unit)
	o.comment("An EnvironmentFile= of the unit wins over Environment=: look that it sets none of these.")
	o.line("[Service]")
	for _, v := range variables(p) {
		o.line("Environment=%s=%s", v.name, v.value)
	}
	if limit := p.Container.LimitBytes; limit > 0 {
		if mark := reclaimFrom(p); mark > 0 {
			o.comment("From here on the kernel takes back page cache, before it comes to a kill.")
			o.line("MemoryHigh=%d", mark)
		}
		o.line("MemoryMax=%d", limit)
	}
	return nil
}

// reclaimFrom is halfway between the highest peak that is expected and the
// limit, 0 where there is no room between: the kernel slows down a process that
// is above it, which must not happen to the process itself.
func reclaimFrom(p *tune.Plan) uint64 {
	peak, limit := p.Expected.RSSPeakBytes.High, float64(p.Container.LimitBytes)
	if !(peak > 0 && peak < 0.99*limit) {
		return 0
	}
	return uint64(math.Ceil((peak+limit)/2/(1<<20))) << 20
}

func docker(o *page, t Target, p *tune.Plan) error {
	if err := containerName.check("name", "the name of the container", t.Name); err != nil {
		return err
	}
	var memory []string
	if limit := p.Container.LimitBytes; limit > 0 {
		memory = append(memory, fmt.Sprintf("--memory=%db", limit))
		if r := p.Container.RequestBytes; r > 0 && r <= limit {
			memory = append(memory, fmt.Sprintf("--memory-reservation=%db", r))
		}
		// Docker refuses a limit above the one of memory and swap that it set
		// itself before.
		memory = append(memory, fmt.Sprintf("--memory-swap=%db", limit))
	}
	flags := slices.Clone(memory)
	for _, v := range variables(p) {
		flags = append(flags, fmt.Sprintf("--env=%s=%s", v.name, v.value))
	}
	o.comment("The environment of a container is fixed when it is made. Make it anew, with these flags:")
	o.comment("  docker run --name=%s %s IMAGE", t.Name, strings.Join(flags, " "))
	if len(memory) > 0 {
		o.comment("Of a container that runs, this changes the memory only. Without GOMEMLIMIT a smaller limit can kill it.")
		o.line("docker update %s %s", strings.Join(memory, " "), t.Name)
	}
	return nil
}

func compose(o *page, t Target, p *tune.Plan) error {
	if err := containerName.check("name", "the name of the service", t.Name); err != nil {
		return err
	}
	o.comment("Save it as compose.heapwright.yaml, then: docker compose -f compose.yaml -f compose.heapwright.yaml up -d")
	o.line("services:")
	o.line("  %q:", t.Name)
	o.line("    environment:")
	for _, v := range variables(p) {
		o.line("      %s: %q", v.name, v.value)
	}
	if limit := p.Container.LimitBytes; limit > 0 {
		o.line("    deploy:")
		o.line("      resources:")
		o.line("        limits:")
		o.line("          memory: \"%db\"", limit)
		if r := p.Container.RequestBytes; r > 0 && r <= limit {
			o.line("        reservations:")
			o.line("          memory: \"%db\"", r)
		}
	}
	return nil
}

func k8s(o *page, t Target, p *tune.Plan) error {
	workload := t.Workload
	if workload == "" {
		workload = "Deployment"
	}
	if !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, workload) {
		return &NameError{"the kind of the workload", workload, "Deployment, StatefulSet or DaemonSet", "workload"}
	}
	container := t.Container
	if container == "" {
		container = t.Name
	}
	if err := objectName.check("name", "the name of the workload", t.Name); err != nil {
		return err
	}
	if err := labelName.check("container", "the name of the container", container); err != nil {
		return err
	}
	in := ""
	if t.Namespace != "" {
		if err := labelName.check("namespace", "the namespace", t.Namespace); err != nil {
			return err
		}
		in = "--namespace " + t.Namespace + " "
	}
	o.comment("Save it as heapwright-patch.yaml, then: kubectl %spatch %s %s --type strategic --patch-file heapwright-patch.yaml",
		in, strings.ToLower(workload), t.Name)
	o.comment("Or list it in a kustomization.yaml, under patches: [{path: heapwright-patch.yaml}]")
	o.line("apiVersion: apps/v1")
	o.line("kind: %s", workload)
	o.line("metadata:")
	o.line("  name: %q", t.Name)
	if t.Namespace != "" {
		o.line("  namespace: %q", t.Namespace)
	}
	o.line("spec:")
	o.line("  template:")
	o.line("    spec:")
	o.line("      containers:")
	o.line("      - name: %q", container)
	o.line("        env:")
	for _, v := range variables(p) {
		o.line("        - name: %s", v.name)
		o.line("          value: %q", v.value)
		// Env merges by name. A variable that was taken from limits.memory would
		// have both, and the API server would refuse it.
		o.line("          valueFrom: null")
	}
	if limit := p.Container.LimitBytes; limit > 0 {
		o.line("        resources:")
		if r := p.Container.RequestBytes; r > 0 && r <= limit {
			o.line("          requests:")
			o.line("            memory: %q", quantity(r))
		}
		o.line("          limits:")
		o.line("            memory: %q", quantity(limit))
	}
	return nil
}

// quantity writes bytes for Kubernetes: in Mi where nothing is lost by it.
func quantity(bytes uint64) string {
	if bytes%(1<<20) == 0 {
		return fmt.Sprintf("%dMi", bytes>>20)
	}
	return fmt.Sprint(bytes)
}
