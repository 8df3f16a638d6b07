// Package mesh translates plans of stress to workflows of Chaos Mesh, for a service in a
// cluster: a StressChaos for a sibling, a NetworkChaos for a slow dependency or a hole, status
// checks of the readiness URL around and beside them.
//
// Little of a plan has an equivalent there: no fault inside of a Go process, no closed
// loop, no bound on what is measured but the answer of a URL, and nothing that ends a
// fault when memory runs out. What has none is told by name, with why. Nothing is
// applied here.
package mesh

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// Options are what a cluster has to be told that a plan does not say.
type Options struct {
	Name      string            // of the workflow; made of the plan's by default
	Namespace string            // of the pods, and of the workflow; default by default
	Labels    map[string]string // of the pods; one of them is chosen. app: NAME by default
	Container string            // whose memory is taken; the first one by default
	ReadyURL  string            // that the cluster can reach; the plan's where that is no address of this machine
	Headroom  float64           // bytes, that shares of the headroom are of; 0: they cannot be translated
}

// A NothingError says that no fault of a plan has an equivalent.
type NothingError struct {
	Why []string // by fault
}

func (e *NothingError) Error() string {
	return "no fault of the plan has an equivalent in Chaos Mesh: " + strings.Join(e.Why, "; ")
}

// Hint says what can be done.
func (e *NothingError) Hint() string {
	return "what has one: sibling with a level in bytes, and proxy.delay and proxy.hole before a dependency that is not on the same machine"
}

// The types below have the keys of chaos-mesh.org/v1alpha1.

type workflow struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       spec     `yaml:"spec"`
}

type metadata struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace"`
}

type spec struct {
	Entry     string     `yaml:"entry"`
	Templates []template `yaml:"templates"`
}

type template struct {
	Name     string        `yaml:"name"`
	Type     string        `yaml:"templateType"`
	Deadline string        `yaml:"deadline,omitempty"`
	Children []string      `yaml:"children,omitempty"`
	Stress   *stressChaos  `yaml:"stressChaos,omitempty"`
	Network  *networkChaos `yaml:"networkChaos,omitempty"`
	Check    *statusCheck  `yaml:"statusCheck,omitempty"`
	Abort    bool          `yaml:"abortWithStatusCheck,omitempty"`
}

type podSelector struct {
	Mode     string   `yaml:"mode"`
	Selector selector `yaml:"selector"`
}

type selector struct {
	Namespaces []string          `yaml:"namespaces"`
	Labels     map[string]string `yaml:"labelSelectors"`
}

type stressChaos struct {
	podSelector `yaml:",inline"`
	Containers  []string  `yaml:"containerNames,omitempty"`
	Stressors   stressors `yaml:"stressors"`
}

type stressors struct {
	Memory memoryStressor `yaml:"memory"`
}

type memoryStressor struct {
	Workers     int      `yaml:"workers"`
	Size        string   `yaml:"size"`
	OOMScoreAdj int      `yaml:"oomScoreAdj"`
	Options     []string `yaml:"options,omitempty"`
}

type networkChaos struct {
	podSelector `yaml:",inline"`
	Action      string   `yaml:"action"`
	Direction   string   `yaml:"direction"`
	External    []string `yaml:"externalTargets"`
	Delay       *delay   `yaml:"delay,omitempty"`
}

type delay struct {
	Latency string `yaml:"latency"`
}

type statusCheck struct {
	Mode             string    `yaml:"mode"`
	Type             string    `yaml:"type"`
	IntervalSeconds  int       `yaml:"intervalSeconds"`
	TimeoutSeconds   int       `yaml:"timeoutSeconds"`
	FailureThreshold int       `yaml:"failureThreshold,omitempty"`
	SuccessThreshold int       `yaml:"successThreshold,omitempty"`
	HTTP             httpCheck `yaml:"http"`
}

type httpCheck struct {
	URL      string       `yaml:"url"`
	Method   string       `yaml:"method"`
	Criteria httpCriteria `yaml:"criteria"`
}

type httpCriteria struct {
	StatusCode string `yaml:"statusCode"`
}

// Names of templates of every workflow.
const (
	entryName  = "plan"
	beforeName = "before"
)

// none is why kinds have no equivalent.
var none = map[chaos.Kind]string{
	chaos.SoftLimit:   "no resource reaches into a Go process; JVMChaos is for the JVM",
	chaos.CPUQuota:    "StressChaos burns CPU beside the service, which is another thing than a smaller quota: it is throttled for what somebody else does, and how much is left is not said. Set resources.limits.cpu instead",
	chaos.Freeze:      "PodChaos kills containers or replaces their image; it stops none and lets it go on",
	chaos.PageCache:   "a StressChaos takes anonymous memory alone; IOChaos delays files and caches none",
	chaos.Shared:      "a StressChaos takes anonymous memory alone",
	chaos.Reclaim:     "nothing sets memory.high of a pod",
	chaos.HardLimit:   "nothing lowers the limit of a container; resizing the pod does (its resize subresource)",
	chaos.ResetPeer:   "a NetworkChaos loses packets and resets no connection; an HTTPChaos is about what a pod serves, and not about what it asks",
	chaos.Connections: "no resource opens connections to a service",
}

// A writer makes a workflow of a plan.
type writer struct {
	plan      *chaos.Plan
	options   Options
	ready     string
	templates []template
	steps     []string // children of the entry
	notes     []string
	nothing   []string
	names     map[string]bool
}

// Export writes a plan as a workflow, and says what it leaves out. The error is a
// [*NothingError] when that is all.
func Export(p *chaos.Plan, o Options) (text []byte, notes []string, err error) {
	if err := check(&o, p); err != nil {
		return nil, nil, err
	}
	w := &writer{plan: p, options: o, names: map[string]bool{entryName: true, beforeName: true}}
	w.ready = w.readyURL()
	w.pause(beforeName, p.Before)
	var last string
	for i := range p.Faults {
		if name := w.fault(&p.Faults[i]); name != "" {
			if last != "" && p.Between > 0 {
				w.steps = slices.Insert(w.steps, slices.Index(w.steps, w.stepOf(name)), w.suspend("between-"+last+"-and-"+name, p.Between))
			}
			last = name
		}
	}
	if last == "" {
		return nil, nil, &NothingError{Why: w.nothing}
	}
	w.unsaid()
	f := workflow{APIVersion: "chaos-mesh.org/v1alpha1", Kind: "Workflow", Metadata: metadata{Name: o.Name, Namespace: o.Namespace},
		Spec: spec{Entry: entryName, Templates: append([]template{{Name: entryName, Type: "Serial", Children: w.steps}}, w.templates...)}}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made of the plan of stress %s. What it says that Chaos Mesh cannot:\n", oneLine(p.Name))
	for _, n := range w.notes {
		fmt.Fprintf(&b, "# - %s\n", oneLine(n))
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&f); err != nil {
		return nil, nil, fmt.Errorf("writing the workflow: %w", err)
	}
	return b.Bytes(), w.notes, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelKey  = regexp.MustCompile(`^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelText = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
)

// check fills in what is left out of the options, and refuses what no cluster takes.
func check(o *Options, p *chaos.Plan) error {
	if o.Name == "" {
		o.Name = dns(p.Name, "stress")
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if len(o.Labels) == 0 {
		o.Labels = map[string]string{"app": dns(p.Name, "stress")}
	}
	for what, s := range map[string]string{"name": o.Name, "namespace": o.Namespace} {
		if !dnsLabel.MatchString(s) {
			return fmt.Errorf("%s %q: lower-case letters, digits and -, 63 at most", what, s)
		}
	}
	if o.Container != "" && !dnsLabel.MatchString(o.Container) {
		return fmt.Errorf("container %q: lower-case letters, digits and -, 63 at most", o.Container)
	}
	for _, k := range slices.Sorted(maps.Keys(o.Labels)) {
		if !labelKey.MatchString(k) || !labelText.MatchString(o.Labels[k]) {
			return fmt.Errorf("label %q: write name=value", k+"="+o.Labels[k])
		}
	}
	if u, err := url.Parse(o.ReadyURL); o.ReadyURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("readiness URL %q: write http://server.default:8080/healthz", o.ReadyURL)
	}
	if math.IsNaN(o.Headroom) || o.Headroom < 0 || o.Headroom > 1<<56 {
		return fmt.Errorf("headroom of %v bytes: write how much of its limit the service leaves free", o.Headroom)
	}
	return nil
}

var notOfDNS = regexp.MustCompile(`[^a-z0-9]+`)

// dns makes a name that a cluster takes.
func dns(s, otherwise string) string {
	s = notOfDNS.ReplaceAllString(strings.ToLower(s), "-")
	s = strings.Trim(s[:min(len(s), 40)], "-")
	if s == "" {
		return otherwise
	}
	return s
}

// template adds a template under a name that no other has.
func (w *writer) template(t template) string {
	base := dns(t.Name, "step")
	if t.Name == beforeName {
		base = t.Name
	}
	name := base
	for n := 2; w.names[name] && name != beforeName; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	w.names[name] = true
	t.Name = name
	w.templates = append(w.templates, t)
	return name
}

func (w *writer) suspend(name string, d time.Duration) string {
	return w.template(template{Name: name, Type: "Suspend", Deadline: d.String()})
}

// pause waits, and looks whether the service is ready meanwhile, where it can.
func (w *writer) pause(name string, d time.Duration) {
	if w.ready == "" {
		w.steps = append(w.steps, w.suspend(name, d))
		return
	}
	w.steps = append(w.steps, w.watch(name, d))
}

// watch is a check that goes on for a time, and ends the workflow when it fails.
func (w *writer) watch(name string, d time.Duration) string {
	failures := 2
	for _, c := range w.plan.Abort {
		if c.Metric == chaos.Ready {
			failures = max(int(math.Ceil(c.For.Seconds())), 1)
		}
	}
	return w.template(template{Name: name, Type: "StatusCheck", Deadline: d.String(), Abort: true,
		Check: &statusCheck{Mode: "Continuous", Type: "HTTP", IntervalSeconds: 1, TimeoutSeconds: 1, FailureThreshold: failures, HTTP: w.http()}})
}

func (w *writer) http() httpCheck {
	return httpCheck{URL: w.ready, Method: "GET", Criteria: httpCriteria{StatusCode: "200"}}
}

// readyURL is the URL that the cluster asks; "" where there is none.
func (w *writer) readyURL() string {
	if w.options.ReadyURL != "" {
		return w.options.ReadyURL
	}
	ready := w.plan.Target.Ready
	if ready == "" {
		w.notes = append(w.notes, "readiness: the plan has no URL, so that nothing is checked")
		return ""
	}
	u, err := url.Parse(ready)
	if err != nil || local(u.Hostname()) {
		w.notes = append(w.notes, fmt.Sprintf("readiness: the cluster cannot ask %s; give the URL of its service", ready))
		return ""
	}
	return ready
}

// local reports whether an address is known on one machine alone.
func local(host string) bool {
	if strings.Contains(host, "{") || host == "" || host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsLoopback() || a.IsUnspecified())
}

// leave says that a fault has no equivalent.
func (w *writer) leave(f *chaos.Fault, why string) string {
	text := fmt.Sprintf("%s (%s): %s", f.Name, f.Kind, why)
	w.notes, w.nothing = append(w.notes, text), append(w.nothing, text)
	return ""
}

// fault adds what is like a fault, and returns its template; "" where there is nothing.
func (w *writer) fault(f *chaos.Fault) string {
	info, _ := f.Kind.Info()
	switch {
	case f.Kind == chaos.Sibling:
		return w.sibling(f)
	case f.Kind == chaos.SlowDependency:
		return w.slow(f)
	case f.Kind == chaos.BlackHole:
		return w.hole(f)
	case info.Inside:
		return w.leave(f, "no resource reaches into a Go process; JVMChaos is for the JVM")
	}
	return w.leave(f, none[f.Kind])
}

// add adds a fault, with a check beside it and one after it.
func (w *writer) add(f *chaos.Fault, t template) string {
	for _, key := range []struct {
		given bool
		note  string
	}{
		{f.Until != nil, "until: there is no closed loop; its highest level is taken at once"},
		{f.Steps > 0, "steps: there is a slope alone"},
		{!f.From.IsZero(), "from: it begins at nothing"},
		{f.Expect != nil, "expect: what it is to do is not judged"},
	} {
		if key.given {
			w.notes = append(w.notes, f.Name+": "+key.note)
		}
	}
	name := w.template(t)
	if w.ready == "" {
		w.steps = append(w.steps, name)
		return name
	}
	watch := w.watch("ready-during-"+name, f.Ramp+f.Hold)
	w.steps = append(w.steps, w.template(template{Name: "with-check-" + name, Type: "Parallel", Deadline: (f.Ramp + f.Hold + 10*time.Second).String(), Children: []string{name, watch}}))
	r := &w.plan.Recovery
	w.steps = append(w.steps, w.template(template{Name: "ready-after-" + name, Type: "StatusCheck", Deadline: r.Within.String(), Abort: true,
		Check: &statusCheck{Mode: "Synchronous", Type: "HTTP", IntervalSeconds: 1, TimeoutSeconds: 1, FailureThreshold: max(int(r.Within.Seconds()), 1),
			SuccessThreshold: max(int(r.Stable.Seconds()), 1), HTTP: w.http()}}))
	return name
}

// stepOf is the step of the entry that a fault's template is in.
func (w *writer) stepOf(name string) string {
	for _, t := range w.templates {
		if t.Type == "Parallel" && slices.Contains(t.Children, name) {
			return t.Name
		}
	}
	return name
}

func (w *writer) pods() podSelector {
	return podSelector{Mode: "one", Selector: selector{Namespaces: []string{w.options.Namespace}, Labels: w.options.Labels}}
}

func (w *writer) sibling(f *chaos.Fault) string {
	level := f.Level.Value
	if f.Level.Share {
		if w.options.Headroom == 0 {
			return w.leave(f, "its level is a share of the headroom, which a StressChaos does not know: its own shares are of all memory. Write bytes, or say how much headroom there is")
		}
		level *= w.options.Headroom
	}
	if level < 1 {
		return w.leave(f, "it would take nothing")
	}
	m := memoryStressor{Workers: 1, Size: strconv.FormatFloat(math.Floor(level), 'f', 0, 64) + "B", OOMScoreAdj: 1000}
	if f.Ramp > 0 {
		m.Options = []string{"--time", f.Ramp.String()}
	}
	c := &stressChaos{podSelector: w.pods(), Stressors: stressors{Memory: m}}
	if w.options.Container != "" {
		c.Containers = []string{w.options.Container}
	}
	return w.add(f, template{Name: f.Name, Type: "StressChaos", Deadline: (f.Ramp + f.Hold).String(), Stress: c})
}

func (w *writer) slow(f *chaos.Fault) string {
	host, why := w.dependency(f)
	switch {
	case why != "":
		return w.leave(f, why)
	case f.Level.Value == 0:
		return w.leave(f, "it cuts connections and delays none; a NetworkChaos loses packets, which makes connections slow and cuts none")
	}
	if f.Cut > 0 {
		w.notes = append(w.notes, f.Name+": cut: connections are not cut; a NetworkChaos loses packets, which makes connections slow")
	}
	w.notes = append(w.notes, f.Name+": all packets to "+host+" are delayed, on every port, and not connections to one; the level is reached at once")
	d := time.Duration(math.Round(f.Level.Value*1e6)) * time.Microsecond
	return w.add(f, template{Name: f.Name, Type: "NetworkChaos", Deadline: (f.Ramp + f.Hold).String(), Network: &networkChaos{podSelector: w.pods(),
		Action: "delay", Direction: "to", External: []string{host}, Delay: &delay{Latency: strconv.FormatInt(d.Microseconds(), 10) + "us"}}})
}

// dependency is the host that a fault with a proxy stands before, or why that has no
// equivalent.
func (w *writer) dependency(f *chaos.Fault) (host, why string) {
	upstream := f.Upstream
	for _, o := range w.plan.Faults {
		if f.Proxy != "" && o.Name == f.Proxy {
			upstream = o.Upstream
		}
	}
	host, _, err := net.SplitHostPort(upstream)
	if err != nil || local(host) {
		return "", fmt.Sprintf("its dependency, %s, is on the same machine, where a NetworkChaos changes nothing", upstream)
	}
	return host, ""
}

func (w *writer) hole(f *chaos.Fault) string {
	host, why := w.dependency(f)
	switch {
	case why != "":
		return w.leave(f, why)
	case f.Level.Value < 1:
		return w.leave(f, "it is a hole for a share of the connections; a NetworkChaos loses a share of the packets of each, which makes them slow")
	}
	if f.End == chaos.Reset {
		w.notes = append(w.notes, f.Name+": end: connections are not reset when it ends")
	}
	w.notes = append(w.notes, f.Name+": no packet to or from "+host+" passes, on any port, so that connecting fails, too")
	direction := f.Direction
	if direction == "" {
		direction = chaos.Both
	}
	return w.add(f, template{Name: f.Name, Type: "NetworkChaos", Deadline: (f.Ramp + f.Hold).String(), Network: &networkChaos{podSelector: w.pods(),
		Action: "partition", Direction: direction, External: []string{host}}})
}

// unsaid is what no workflow says, beside the faults.
func (w *writer) unsaid() {
	p := w.plan
	var metrics []string
	for _, c := range slices.Concat(p.Hypothesis, p.Abort) {
		if m := string(c.Metric); c.Metric != chaos.Ready && !slices.Contains(metrics, m) {
			metrics = append(metrics, m)
		}
	}
	if len(metrics) > 0 {
		w.notes = append(w.notes, "hypothesis and abort: a workflow looks at the answer of a URL alone; nobody looks at "+strings.Join(metrics, ", "))
	}
	if p.Load != nil {
		w.notes = append(w.notes, "load: a workflow sends none")
	}
	w.notes = append(w.notes, "recovery: whether it is ready is all that is looked at afterwards",
		"a StressChaos that the kernel kills for memory is not started again, and the service may be killed in its place (memory.oom.group)")
}
