package planfile

import (
	"fmt"
	"maps"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Bounds on what a plan may ask for.
const (
	maxName        = 80 // bytes
	maxFaults      = 32
	maxCriteria    = 32
	maxDiagnosis   = 8
	maxSteps       = 1000
	maxConcurrency = 1024
	maxSend        = 64 << 10  // bytes
	maxStretch     = time.Hour // of a ramp or a hold
	minFault       = time.Second
	maxTotal       = 3 * time.Hour // what is seen of it is kept in memory
	maxDelay       = time.Minute   // of what passes a proxy
	maxFrozen      = 30 * time.Second
	maxCount       = 100_000 // of collections
	maxShare       = 2       // of headroom, by faults that may end in a kill
	minMemory      = 1 << 20
	maxCores       = 1024
)

// most is the highest level of the kinds that no cap bounds.
var most = map[chaos.Kind]float64{
	chaos.Churn: 64 << 30, chaos.ForcedGC: 50, chaos.Goroutines: 1_000_000, chaos.Finalizers: 1_000_000, chaos.SlowDependency: maxDelay.Seconds(), chaos.BlackHole: 1, chaos.ResetPeer: 1,
	chaos.Connections: 60_000, chaos.Freeze: maxFrozen.Seconds(), // a client has no more ports
}

// proxied are the kinds that happen to what passes a proxy.
var proxied = []chaos.Kind{chaos.SlowDependency, chaos.BlackHole, chaos.ResetPeer}

// keysOf are the keys that only some kinds have.
var keysOf = []struct {
	key   string
	kinds []chaos.Kind
}{
	{"size", []chaos.Kind{chaos.Churn, chaos.Retain, chaos.Pointers, chaos.Large, chaos.Fragments, chaos.Stacks, chaos.Finalizers, chaos.OffHeap}},
	{"every", []chaos.Kind{chaos.SlowDependency, chaos.ForcedGC}},
	{"count", []chaos.Kind{chaos.ForcedGC}},
	{"proxy", proxied},
	{"listen", proxied},
	{"upstream", proxied},
	{"direction", []chaos.Kind{chaos.BlackHole}},
	{"end", []chaos.Kind{chaos.BlackHole}},
	{"cut", []chaos.Kind{chaos.SlowDependency}},
	{"address", []chaos.Kind{chaos.Connections}},
	{"send", []chaos.Kind{chaos.Connections}},
	{"dirty", []chaos.Kind{chaos.PageCache}},
	{"concurrency", []chaos.Kind{chaos.Connections}},
}

// sizes are those of an object, a stack or a mapping that package guard/fault makes.
var sizes = map[chaos.Kind][2]experiment.Bytes{
	chaos.Churn: {16, 64 << 20}, chaos.Retain: {1 << 10, 64 << 20}, chaos.Pointers: {16, 512}, chaos.Large: {64 << 10, 256 << 20}, chaos.Fragments: {16, 512},
	chaos.Stacks: {16 << 10, 16 << 20}, chaos.Finalizers: {16, 64 << 10}, chaos.OffHeap: {64 << 10, 256 << 20},
}

// check looks for everything that a plan cannot mean. All defaults are there.
func (d *decoder) check() {
	p := &d.plan
	switch {
	case !d.Given("schema"):
		d.Bad("schema", "the first line of a plan is \"schema: %s\"", chaos.PlanSchema)
	case p.Schema != chaos.PlanSchema:
		d.Bad("schema", "%s is not known: this heapwright reads %s", strictyaml.Quote(p.Schema), chaos.PlanSchema)
	}
	if p.Name == "" || len(p.Name) > maxName+len("…") || strings.ContainsFunc(p.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		d.Bad("name", "a name is one line of 1 to %d bytes", maxName)
	}
	d.target(&p.Target)
	d.load()
	d.faults()
	d.proxies()
	r := &p.Recovery
	d.During("recovery.within", r.Within, time.Second, maxStretch)
	d.During("recovery.stable", r.Stable, 0, r.Within)
	d.During("recovery.memory", r.Memory, r.Within, maxStretch)
	d.During("recovery.watch", r.Watch, 0, maxStretch)
	if d.Given("caps.memory") && p.Caps.Memory < minMemory {
		d.Bad("caps.memory", "nothing can be taken of %d bytes: write 512MiB", p.Caps.Memory)
	}
	if h := p.Caps.HostFree; h < 0.01 || h > 0.9 {
		d.Bad("caps.host_free", "%s is not from 1%% to 90%%: a machine without free memory kills what it likes", percent(float64(h)))
	}
	d.During("before", p.Before, time.Second, maxStretch)
	d.During("between", p.Between, 0, maxStretch)
	if _, longest := duration(p); longest > maxTotal && d.Problems() == 0 {
		d.Bad("faults", "all of them may take %v, and %v is the longest: make holds shorter, or several plans", longest.Round(time.Minute), maxTotal)
	}
}

var (
	containerForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]*$`)
	faultName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	proxyName     = regexp.MustCompile(`\{proxy\.([^{}\s]*)\}`)
)

func (d *decoder) target(t *chaos.Target) {
	if ways := []string{"start", "pid", "name", "container"}; d.Given("target.container") {
		// A name chooses among the processes of a container.
		d.One("target", "", slices.DeleteFunc(ways, func(k string) bool { return k == "name" })...)
	} else {
		d.One("target", "there is no process to do it to", ways...)
	}
	switch {
	case !d.Given("target.pid"):
	case t.PID == 1:
		d.Bad("target.pid", "process 1 is what the machine or the container runs on: it is no target")
	case t.PID < 1:
		d.Bad("target.pid", "%d is no process", t.PID)
	}
	if d.Given("target.name") && (strings.TrimSpace(t.Name) == "" || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) })) {
		d.Bad("target.name", "write the name of an executable or of its module")
	}
	if d.Given("target.container") && !containerForm.MatchString(t.Container) {
		d.Bad("target.container", "%s is no name or ID of a container", strictyaml.Quote(t.Container))
	}
	if t.Start != nil {
		d.Subject("target.start", t.Start)
	}
	for _, key := range []string{"memory_limit", "cpu_quota", "gogc", "gomemlimit"} {
		if d.Given("target."+key) && t.Start == nil && (d.Given("target.pid") || d.Given("target.name") || d.Given("target.container")) {
			d.Bad("target."+key, "only a target that is started has it: this one is as it is")
		}
	}
	if d.Given("target.memory_limit") && t.MemoryLimit < minMemory {
		d.Bad("target.memory_limit", "nothing runs in %d bytes: write 512MiB", t.MemoryLimit)
	}
	if d.Given("target.cpu_quota") && !(t.CPUQuota >= 0.01 && t.CPUQuota <= maxCores) {
		d.Bad("target.cpu_quota", "%v is not from 0.01 to %d cores", t.CPUQuota, maxCores)
	}
	if t.GOGC != "" {
		if err := planfile.CheckGOGC(t.GOGC); err != nil {
			d.Bad("target.gogc", "%s", err)
		}
	}
	if t.GOMEMLIMIT != "" {
		if err := planfile.CheckGOMEMLIMIT(t.GOMEMLIMIT); err != nil {
			d.Bad("target.gomemlimit", "%s", err)
		}
	}
	if d.Given("target.ready") {
		d.URL("target.ready", t.Ready)
	}
	if d.Given("target.debug") {
		d.URL("target.debug", t.Debug)
	}
}

func (d *decoder) load() {
	l := d.plan.Load
	if l == nil {
		return
	}
	if d.Given("load.command") {
		// Ticks of a hundred milliseconds are what stress judges by.
		d.Bad("load.command", "a generator of one's own tells what it saw when it ends, and stress has to know it at once: give http or grpc")
		return
	}
	d.Load(l)
	switch {
	case d.Given("load.knee_share"):
		d.Bad("load.knee_share", "no knee is looked for here: give rate")
	case l.Rate == 0:
		d.Bad("load.rate", "no knee is looked for here: write how many requests a second it normally gets, such as 200/s")
	}
}

func (d *decoder) faults() {
	p := &d.plan
	switch n := len(p.Faults); {
	case n == 0:
		d.Bad("faults", "there is none, so that nothing would happen: give one or more, such as {kind: %s, level: 80%%}", chaos.SoftLimit)
	case n > maxFaults:
		d.Bad("faults", "these are %d, and %d are the most", n, maxFaults)
		return
	}
	seen := map[string]bool{}
	for i := range p.Faults {
		f, path := &p.Faults[i], fmt.Sprintf("faults[%d]", i)
		switch {
		case f.Kind == "" && !d.Given(path+".name"):
		case len(f.Name) > maxName || !faultName.MatchString(f.Name):
			d.Bad(path+".name", "%s is no name of a fault: letters, digits and . _ -, and a letter or digit first", strictyaml.Quote(f.Name))
		case seen[f.Name]:
			d.Bad(path+".name", "there are two faults %s: give each a name", strictyaml.Quote(f.Name))
		}
		seen[f.Name] = true
		if k, ok := d.kind(path+".kind", f.Kind); ok {
			d.fault(path, f, k)
		}
	}
}

// kind checks a kind of faults.
func (d *decoder) kind(path string, k chaos.Kind) (chaos.KindInfo, bool) {
	info, ok := k.Info()
	if ok {
		return info, true
	}
	var all []string
	for _, i := range chaos.Kinds() {
		all = append(all, string(i.Kind))
	}
	if k == "" {
		d.Bad(path, "what is to happen? It is one of %s", strings.Join(all, ", "))
		return info, false
	}
	d.Word(path, string(k), all...)
	return info, false
}

func (d *decoder) fault(path string, f *chaos.Fault, k chaos.KindInfo) {
	t := &d.plan.Target
	for _, of := range keysOf {
		if d.Given(path+"."+of.key) && !slices.Contains(of.kinds, f.Kind) {
			d.Bad(path+"."+of.key, "%s has none: it belongs to %s", f.Kind, join(of.kinds))
		}
	}
	switch {
	case k.Inside && t.Debug == "":
		d.Bad(path+".kind", "%s happens inside of a service that has package guard/fault: give target.debug, the URL of its debug page", f.Kind)
	case t.Start == nil:
	case k.Memory && t.MemoryLimit == 0:
		d.Bad(path+".kind", "%s is about the target's cgroup, and a target that is started has one with target.memory_limit alone", f.Kind)
	case k.CPU && t.CPUQuota == 0:
		d.Bad(path+".kind", "%s is about the target's cgroup, and a target that is started has one with target.cpu_quota alone", f.Kind)
	}
	d.level(path, f, k)
	d.During(path+".ramp", f.Ramp, 0, maxStretch)
	d.During(path+".hold", f.Hold, 0, maxStretch)
	if f.Hold >= 0 && f.Ramp >= 0 && f.Hold+f.Ramp < minFault && f.Kind != chaos.Freeze {
		d.Bad(path+".hold", "the fault would be over after %v, before anything is seen of it: write 20s", f.Hold+f.Ramp)
	}
	d.Within(path+".steps", f.Steps, 0, maxSteps)
	switch {
	case f.Until != nil && f.Steps > 0:
		d.Bad(path+".steps", "a closed loop moves as it has to, and not in steps")
	case f.Steps > 0 && f.Ramp == 0:
		d.Bad(path+".steps", "steps are of the ramp, and there is none: give ramp")
	}
	d.Within(path+".concurrency", f.Concurrency, 0, maxConcurrency)
	if r, ok := sizes[f.Kind]; ok && d.Given(path+".size") && (f.Size < r[0] || f.Size > r[1]) {
		d.Bad(path+".size", "%s is not from %s to %s", formatBytes(float64(f.Size)), formatBytes(float64(r[0])), formatBytes(float64(r[1])))
	}
	if d.Given(path + ".count") {
		d.Within(path+".count", f.Count, 1, maxCount)
	}
	if d.Given(path + ".every") {
		d.During(path+".every", f.Every, 10*time.Millisecond, maxStretch)
	}
	if f.AllowKill && k.Risk < 3 && k.Share != "headroom" {
		d.Bad(path+".allow_kill", "%s kills nothing: leave it out", f.Kind)
	}
	if e := f.Expect; e != nil {
		switch {
		case !e.OOMKill && !e.Degrade:
			d.Bad(path+".expect", "what is expected? Write oom_kill: true, or degrade: true")
		case e.Degrade && t.Debug == "":
			d.Bad(path+".expect.degrade", "whether the guard degrades is read from the debug page: give target.debug")
		}
		if e.OOMKill && !f.AllowKill {
			d.Bad(path+".expect.oom_kill", "say allow_kill: true too, since the target is then let die")
		}
	}
	if len(f.Diagnosis) > maxDiagnosis {
		d.Bad(path+".diagnosis", "these are %d, and %d are the most", len(f.Diagnosis), maxDiagnosis)
		return
	}
	for i, id := range f.Diagnosis {
		if !slices.ContainsFunc(diagnose.Rules(), func(r *diagnose.Rule) bool { return r.ID == id }) {
			d.Bad(fmt.Sprintf("%s.diagnosis[%d]", path, i), "%s is no finding: heapwright explain --list lists them, such as HW1003", strictyaml.Quote(id))
		}
	}
	d.proxy(path, f, k)
	d.connections(path, f)
}

func join(kinds []chaos.Kind) string {
	var all []string
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

// level checks how much of a fault there is to be.
func (d *decoder) level(path string, f *chaos.Fault, k chaos.KindInfo) {
	at := path + ".level"
	rare := f.Kind == chaos.ForcedGC && f.Every > 0 // which says how much, too
	switch {
	case rare && f.Level.Value != 0:
		d.Bad(path+".every", "there is level already: give one of the two")
	case rare:
		if f.Every < 20*time.Millisecond {
			d.Bad(path+".every", "%v is more often than 50 a second, which is the most", f.Every)
		}
		return
	case !d.Given(at) && k.Unit != chaos.Ratio: // which is all of them
		d.Bad(at, "how much? Write %s", d.like(k))
		return
	}
	kill := f.AllowKill || f.Expect != nil && f.Expect.OOMKill
	t := &d.plan.Target
	l := f.Level
	switch {
	case l.Value == 0 && !(f.Kind == chaos.SlowDependency && f.Cut > 0):
		d.Bad(at, "a level of 0 is no fault: write %s", d.like(k))
	case l.Share && k.Down && l.Value >= 1:
		d.Bad(at, "%s would not lower it: write less than 100%%", percent(l.Value))
	case l.Share && !k.Down && l.Value > 1 && !kill:
		d.Bad(at, "%s is more than there is, and the kernel would kill for it: write less, or say allow_kill: true", percent(l.Value))
	case l.Share && l.Value > maxShare:
		d.Bad(at, "%s is not to at most %s", percent(l.Value), percent(maxShare))
	case l.Share:
		if k.Share == "headroom" && t.Start != nil && t.MemoryLimit == 0 {
			d.Bad(at, "%s of what? Headroom is what is left of target.memory_limit: give that, or write %s", percent(l.Value), example[k.Unit])
		}
		if k.Share == "limit" && k.Kind == chaos.SoftLimit && t.Start != nil && t.GOMEMLIMIT == "" && t.MemoryLimit == 0 {
			d.Bad(at, "%s of what? Give target.gomemlimit or target.memory_limit, or write %s", percent(l.Value), example[k.Unit])
		}
	case k.Unit == chaos.Bytes && !k.Down:
		if limit := float64(t.MemoryLimit); limit > 0 && l.Value >= limit && !kill {
			d.Bad(at, "%s is all of target.memory_limit or more, and the kernel would kill for it: write less, or say allow_kill: true", formatAmount(k.Unit, l.Value))
		}
		if c := float64(d.plan.Caps.Memory); c > 0 && l.Value > c {
			d.Bad(at, "%s is more than caps.memory, %s", formatAmount(k.Unit, l.Value), formatBytes(c))
		}
	case f.Kind == chaos.HardLimit || f.Kind == chaos.Reclaim:
		if limit := float64(t.MemoryLimit); limit > 0 && l.Value >= limit {
			d.Bad(at, "%s is not below target.memory_limit, %s", formatAmount(k.Unit, l.Value), formatBytes(limit))
		}
	case f.Kind == chaos.CPUQuota:
		if l.Value < 0.01 || l.Value > maxCores {
			d.Bad(at, "%v is not from 0.01 to %d cores", l.Value, maxCores)
		} else if t.CPUQuota > 0 && l.Value >= t.CPUQuota {
			d.Bad(at, "%s is not below target.cpu_quota, %v", formatAmount(k.Unit, l.Value), t.CPUQuota)
		}
	}
	if m, ok := most[f.Kind]; ok && !l.Share && l.Value > m {
		d.Bad(at, "%s is more than %s, which is the most", formatAmount(k.Unit, l.Value), formatAmount(k.Unit, m))
	}
	if f.Kind == chaos.Freeze && f.Hold > 0 && l.Value > f.Hold.Seconds() {
		d.Bad(at, "it would be stopped for %s, and hold is %v: raise hold", formatAmount(k.Unit, l.Value), f.Hold)
	}
	d.from(path, f, k)
	d.until(path, f)
}

// like is how a level of a kind is written.
func (d *decoder) like(k chaos.KindInfo) string {
	if k.Share != "" {
		return fmt.Sprintf("%s, or 50%% of the %s", example[k.Unit], k.Share)
	}
	return example[k.Unit]
}

func (d *decoder) from(path string, f *chaos.Fault, k chaos.KindInfo) {
	if !d.Given(path+".from") || f.From.IsZero() || f.From.Share != f.Level.Share {
		return
	}
	switch {
	case k.Down && f.From.Value <= f.Level.Value:
		d.Bad(path+".from", "%s is lowered: from is more than level", f.Kind)
	case !k.Down && f.From.Value >= f.Level.Value:
		d.Bad(path+".from", "from is less than level")
	}
}

func (d *decoder) until(path string, f *chaos.Fault) {
	switch {
	case f.Until == nil:
		return
	case f.Kind == chaos.Freeze:
		d.Bad(path+".until", "a process that stands still leads no metric anywhere: give level alone")
	}
	if f.Ramp == 0 {
		d.Bad(path+".ramp", "a closed loop takes time: give the longest that it may take to get there")
	}
	d.metric(path+".until", f.Until.Metric)
	if !d.Given(path + ".until.reaches") {
		d.Bad(path+".until", "which value is it led to? Give reaches")
	}
}

func (d *decoder) proxy(path string, f *chaos.Fault, k chaos.KindInfo) {
	if !k.Proxy {
		return
	}
	if f.Proxy != "" {
		for _, key := range []string{"upstream", "listen"} {
			if d.Given(path + "." + key) {
				d.Bad(path+"."+key, "the proxy of %s has one: leave it out, or proxy", strictyaml.Quote(f.Proxy))
			}
		}
	} else {
		if !d.Given(path + ".upstream") {
			d.Bad(path, "give upstream, the address of the dependency that it stands before")
		} else {
			d.Address(path+".upstream", f.Upstream)
		}
		host, port, err := net.SplitHostPort(f.Listen)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 1<<16-1 || net.ParseIP(host) == nil {
			d.Bad(path+".listen", "%s is no address to listen on: write 127.0.0.1:6380", strictyaml.Quote(f.Listen))
		}
	}
	if f.Every > 0 && f.Cut == 0 {
		d.Bad(path+".every", "it is between two cuts, and nothing is cut: give cut")
	}
	if f.Kind == chaos.BlackHole {
		d.Word(path+".direction", f.Direction, chaos.Both, chaos.To, chaos.From)
		d.Word(path+".end", f.End, chaos.Keep, chaos.Reset)
	}
}

func (d *decoder) connections(path string, f *chaos.Fault) {
	if f.Kind != chaos.Connections {
		return
	}
	if f.Address == "" {
		d.Bad(path, "give address, what is connected to, such as 127.0.0.1:8080")
	} else {
		d.Address(path+".address", f.Address)
	}
	if len(f.Send) > maxSend {
		d.Bad(path+".send", "these are %d bytes, and %d are the most", len(f.Send), maxSend)
	}
}

// proxies checks that who goes through a proxy names one, and that each has somebody
// that goes through it.
func (d *decoder) proxies() {
	named := map[string]bool{}
	var all []string
	for _, f := range d.plan.Opens() {
		named[f.Name] = false
		all = append(all, "{proxy."+f.Name+"}")
	}
	for i, f := range d.plan.Faults {
		if _, ok := named[f.Proxy]; !ok && f.Proxy != "" && slices.Contains(proxied, f.Kind) {
			d.Bad(fmt.Sprintf("faults[%d].proxy", i), "no fault %s has a proxy of its own: leave it out, and give upstream", strictyaml.Quote(f.Proxy))
		}
	}
	look := func(path, s string) {
		for _, m := range proxyName.FindAllStringSubmatch(s, 20) {
			if _, ok := named[m[1]]; ok {
				named[m[1]] = true
				continue
			}
			text := "no fault with a proxy has that name"
			if len(all) > 0 {
				text = "there is " + strings.Join(all, ", ")
			}
			d.Bad(path, "%s is not known: %s", strictyaml.Clip(m[0], 60), text)
		}
	}
	if s := d.plan.Target.Start; s != nil {
		for i, a := range s.Command {
			look(fmt.Sprintf("target.start.command[%d]", i), a)
		}
		for i, a := range s.Args {
			look(fmt.Sprintf("target.start.args[%d]", i), a)
		}
		for _, k := range slices.Sorted(maps.Keys(s.Env)) {
			look("target.start.env."+k, s.Env[k])
		}
		for _, k := range slices.Sorted(maps.Keys(s.Files)) {
			look("target.start.files."+k, s.Files[k])
		}
	}
	for i, f := range d.plan.Faults {
		if used, ok := named[f.Name]; ok && !used && strings.HasSuffix(f.Listen, ":0") {
			path := fmt.Sprintf("faults[%d]", i)
			if d.plan.Target.Start != nil {
				d.Bad(path, "nobody goes through it: write {proxy.%s} where the target is given the dependency's address", f.Name)
			} else {
				d.Bad(path, "nobody knows where it listens: give listen an address that the target connects to already")
			}
		}
	}
}

// metric checks a metric that the plan looks at.
func (d *decoder) metric(path string, m chaos.Metric) (chaos.MetricInfo, bool) {
	info, ok := m.Info()
	if !ok {
		var names []string
		for _, i := range chaos.Metrics() {
			names = append(names, string(i.Metric))
		}
		switch like := strictyaml.Near(string(m), names, 3); {
		case m == "":
			d.Bad(path, "which metric? Such as %s, %s or %s", chaos.GCCPURatio, chaos.HeadroomRatio, chaos.LatencyP99)
		case len(like) > 0:
			d.Bad(path+".metric", "%s is not measured; did you mean %s?", strictyaml.Quote(string(m)), strings.Join(like, " or "))
		default:
			d.Bad(path+".metric", "%s is not measured; there are %s", strictyaml.Quote(string(m)), strings.Join(names, ", "))
		}
		return info, false
	}
	if why := unseen(&d.plan, info); why != "" {
		d.Bad(path+".metric", "nobody would see %s: %s", m, why)
	}
	return info, true
}

// criteria reads and checks the hypothesis and the abort conditions, and fills in the
// default ones.
func (d *decoder) criteria() {
	p := &d.plan
	p.Hypothesis = d.list("hypothesis", d.file.Hypothesis)
	if d.Given("hypothesis") && len(d.file.Hypothesis) == 0 {
		d.Bad("hypothesis", "nothing would have to hold, and everything would pass: leave it out to have the default one")
	}
	if !d.Given("hypothesis") {
		p.Hypothesis = Hypothesis(p)
	}
	p.Abort = d.list("abort", d.file.Abort)
	for _, c := range Abort(p) {
		if !slices.ContainsFunc(p.Abort, func(o chaos.Criterion) bool { return o.Metric == c.Metric }) {
			p.Abort = append(p.Abort, c)
		}
	}
}

func (d *decoder) list(key string, all []criterion) []chaos.Criterion {
	if len(all) > maxCriteria {
		d.Bad(key, "these are %d, and %d are the most", len(all), maxCriteria)
		return nil
	}
	var out []chaos.Criterion
	for i := range all {
		out = append(out, d.criterion(fmt.Sprintf("%s[%d]", key, i), &all[i], key == "abort"))
	}
	return out
}

func (d *decoder) criterion(path string, c *criterion, abort bool) chaos.Criterion {
	out := chaos.Criterion{Metric: c.Metric, OfBaseline: c.OfBaseline, For: c.For, Except: c.Except}
	d.During(path+".for", c.For, 0, 10*time.Minute)
	for i, k := range c.Except {
		d.kind(fmt.Sprintf("%s.except[%d]", path, i), k)
	}
	info, ok := d.metric(path, c.Metric)
	if !ok {
		return out
	}
	d.One(path, "which bound does "+string(c.Metric)+" have", "at_most", "at_least")
	read := func(key, s string) *float64 {
		if !d.Given(path + "." + key) {
			return nil
		}
		v, err := parseBound(info, c.OfBaseline, s)
		if err != nil {
			d.Bad(path+"."+key, "%s", err)
			return nil
		}
		return &v
	}
	out.AtMost, out.AtLeast, out.Tolerated = read("at_most", c.AtMost), read("at_least", c.AtLeast), read("tolerated", c.Tolerated)
	switch {
	case out.Tolerated == nil:
	case abort:
		d.Bad(path+".tolerated", "an abort condition has one bound: write it as at_most or at_least")
	case out.AtMost != nil && *out.Tolerated < *out.AtMost, out.AtLeast != nil && *out.Tolerated > *out.AtLeast:
		d.Bad(path+".tolerated", "it is stricter than what holds without a fault: what is tolerated while there is one is the looser")
	}
	return out
}

// convert makes the plan of the file, but for criteria.
func (d *decoder) convert() {
	f, p := &d.file, &d.plan
	*p = chaos.Plan{Schema: f.Schema, Name: f.Name, Target: f.Target, Load: f.Load, Recovery: f.Recovery, Caps: f.Caps, Before: f.Before, Between: f.Between, Seed: f.Seed}
	for i := range f.Faults {
		p.Faults = append(p.Faults, d.convertFault(fmt.Sprintf("faults[%d]", i), &f.Faults[i]))
	}
}

func (d *decoder) convertFault(path string, f *fault) chaos.Fault {
	out := chaos.Fault{Name: f.Name, Kind: f.Kind, Ramp: f.Ramp, Steps: f.Steps, Hold: f.Hold, Size: f.Size, Every: f.Every, Count: f.Count, Proxy: f.Proxy, Direction: f.Direction, End: f.End, Listen: f.Listen,
		Upstream: f.Upstream, Cut: f.Cut, Address: f.Address, Send: f.Send, Expect: f.Expect, Diagnosis: f.Diagnosis, AllowKill: f.AllowKill,
		DirtyFiles: f.DirtyFiles, Concurrency: f.Concurrency}
	kind, ok := f.Kind.Info()
	if f.Until != nil {
		out.Until = &chaos.Goal{Metric: f.Until.Metric}
		if info, known := f.Until.Metric.Info(); known && d.Given(path+".until.reaches") {
			v, err := parseBound(info, false, f.Until.Reaches)
			if err != nil {
				d.Bad(path+".until.reaches", "%s", err)
			}
			out.Until.Reaches = v
		}
		if ok && d.Given(path+".until.slope") {
			v, err := parseSlope(kind.Unit, f.Until.Slope)
			if err != nil {
				d.Bad(path+".until.slope", "%s", err)
			}
			out.Until.Slope = v
		}
	}
	if !ok {
		return out // which is said when kinds are checked
	}
	read := func(key, s string) chaos.Level {
		if !d.Given(path+"."+key) && s == "" {
			return chaos.Level{}
		}
		l, err := parseLevel(kind, s)
		if err != nil {
			d.Bad(path+"."+key, "%s", err)
			return chaos.Level{Value: math.NaN()}
		}
		return l
	}
	out.Level, out.From = read("level", f.Level), read("from", f.From)
	return out
}
