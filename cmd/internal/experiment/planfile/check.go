package planfile

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Bounds on what a plan may ask for.
const (
	maxName        = 80 // bytes
	maxVariants    = 32
	maxRequests    = 64
	maxGuards      = 24
	maxProcs       = 1 << 16
	maxConnections = 10_000
	maxTimeout     = time.Minute // what a histogram of latencies ends at
	maxLooks       = 20
	maxPairs       = 1000
	maxBraces      = 20 // that are looked at in a text
	minPairs       = 6  // fewer have no interval at the levels that are used
	minMemory      = 1 << 20
	maxCores       = 1024
)

const (
	protocolHTTP1 = "http1"
	protocolHTTP2 = "http2"
)

// builtOnly is said of keys that need a program to be built.
const builtOnly = "the subject is a command, which is run as it is: give it as a package, source or git, to have it built"

// check looks for everything that a plan cannot mean. All defaults are there.
func (d *decoder) check() {
	p := &d.file.Plan
	switch {
	case !d.Given("schema"):
		d.Bad("schema", "the first line of an experiment is \"schema: %s\"", experiment.PlanSchema)
	case p.Schema != experiment.PlanSchema:
		d.Bad("schema", "%s is not known: this heapwright reads %s", strictyaml.Quote(p.Schema), experiment.PlanSchema)
	}
	if p.Name == "" || len(p.Name) > maxName+len("…") || strings.ContainsFunc(p.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		d.Bad("name", "a name is one line of 1 to %d bytes", maxName)
	}
	d.subject(&p.Subject)
	d.variants(p)
	d.load(p)
	d.metrics(p)
	d.design(&p.Design)
	d.during("budget.time", p.Budget.Time, time.Second, 7*24*time.Hour)
}

// within checks a whole number.
func (d *decoder) within(path string, n, low, high int) {
	if n < low || n > high {
		d.Bad(path, "%d is not from %d to %d", n, low, high)
	}
}

// during checks a duration.
func (d *decoder) during(path string, v, low, high time.Duration) {
	if v < low || v > high {
		d.Bad(path, "%v is not from %v to %v", v, low, high)
	}
}

// word checks a word that is one of a few.
func (d *decoder) word(path, s string, words ...string) {
	if slices.Contains(words, s) {
		return
	}
	text := "it is one of " + strings.Join(words, ", ")
	if near := strictyaml.Nearest(s, words); near != "" {
		text = "did you mean " + near + "? " + text
	}
	d.Bad(path, "%s is not known; %s", strictyaml.Quote(s), text)
}

// one checks that exactly one of some keys is given.
func (d *decoder) one(path, what string, keys ...string) {
	var have []string
	for _, k := range keys {
		if d.Given(path + "." + k) {
			have = append(have, k)
		}
	}
	switch {
	case len(have) == 0:
		d.Bad(path, "%s: give one of %s", what, strings.Join(keys, ", "))
	case len(have) > 1:
		d.Bad(path+"."+have[1], "there is %s already: give one of %s", have[0], strings.Join(keys, ", "))
	}
}

func (d *decoder) subject(s *experiment.Subject) {
	d.one("subject", "there is no program to run", "command", "package", "source", "git")
	if d.Given("subject.command") && (len(s.Command) == 0 || s.Command[0] == "") {
		d.Bad("subject.command", "there is no program: write [./server], with its first arguments after it")
	}
	if d.Given("subject.package") {
		d.pkg("subject.package", s.Package)
	}
	if d.Given("subject.source") && s.Source == "" {
		d.Bad("subject.source", "write the directory of a main package, such as ./cmd/server; it is relative to this file")
	}
	if g := s.Git; g != nil {
		if g.Repository == "" {
			d.Bad("subject.git.repository", "write the directory of the repository, relative to this file")
		}
		if rest, ok := strings.CutPrefix(g.Package, "./"); g.Package != "." && (!ok || !filepath.IsLocal(rest)) {
			d.Bad("subject.git.package", "%s is not in the repository: write ./cmd/server, relative to its top", strictyaml.Quote(g.Package))
		}
		if g.Revision != "" {
			d.revision("subject.git.revision", g.Revision)
		}
	}
	d.args("subject.command", s.Command)
	d.args("subject.args", s.Args)
	d.env("subject.env", s.Env)
	d.files(s.Files)
	d.ready(&s.Ready)
	d.word("subject.stop.signal", s.Stop.Signal, "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL")
	d.during("subject.stop.within", s.Stop.Within, 10*time.Millisecond, time.Hour)
}

var (
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*$`)
	versionForm = regexp.MustCompile(`^(v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?|[0-9a-f]{7,64})$`)
)

func (d *decoder) pkg(path, s string) {
	name, version, ok := strings.Cut(s, "@")
	switch {
	case !packageForm.MatchString(name) || !strings.Contains(strings.Split(name, "/")[0], "."):
		d.Bad(path, "%s is no package with its module's host: write example.com/cmd/server@v1.2.3", strictyaml.Quote(s))
	case ok:
		d.version(path, version)
	}
}

// version checks a version that will be the same tomorrow.
func (d *decoder) version(path, s string) {
	if !versionForm.MatchString(s) {
		d.Bad(path, "%s is no exact version: write v1.2.3 or a commit, so that the experiment can be repeated", strictyaml.Quote(s))
	}
}

func (d *decoder) revision(path, s string) {
	if strings.HasPrefix(s, "-") || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }) {
		d.Bad(path, "%s is no revision: write a commit, tag or branch", strictyaml.Quote(s))
	}
}

func (d *decoder) args(path string, args []string) {
	for i, a := range args {
		d.placeholders(fmt.Sprintf("%s[%d]", path, i), a, lenient)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) env(path string, env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		v, p := env[k], path+"."+k
		if !envName.MatchString(k) {
			d.Bad(p, "%s is no name of an environment variable: letters, digits and _, and no digit first", strictyaml.Quote(k))
			continue
		}
		var err error
		switch k {
		case "GOGC":
			err = checkGOGC(v)
		case "GOMEMLIMIT":
			err = checkGOMEMLIMIT(v)
		}
		if err != nil && v != "" {
			d.Bad(p, "%s", err)
		}
		d.placeholders(p, v, lenient)
	}
}

// variantKeys are the variables that variants have a key for.
var variantKeys = map[string]string{
	"GOGC": "gogc", "GOMEMLIMIT": "gomemlimit", "GOMAXPROCS": "gomaxprocs", "GODEBUG": "godebug",
	"GOEXPERIMENT": "goexperiment", "GOTOOLCHAIN": "toolchain",
}

func (d *decoder) files(files map[string]string) {
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		p := "subject.files." + name
		if !filepath.IsLocal(name) || path.Clean(name) != name || name == "." || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, `\{}`) {
			d.Bad(p, "%s is no file inside of {dir}: write a plain relative name, such as conf/server.yml", strictyaml.Quote(name))
		}
		for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if _, ok := files[dir]; ok {
				d.Bad(p, "%s is a file here, and cannot be a directory too", strictyaml.Quote(dir))
			}
		}
		d.placeholders(p, files[name], lenient)
	}
}

func (d *decoder) ready(r *experiment.Ready) {
	if d.Given("subject.ready.http") && d.Given("subject.ready.tcp") {
		d.Bad("subject.ready.tcp", "there is http already: give one of the two")
	}
	if r.HTTP != "" || d.Given("subject.ready.http") {
		d.url("subject.ready.http", r.HTTP)
	}
	if r.TCP != "" || d.Given("subject.ready.tcp") {
		d.address("subject.ready.tcp", r.TCP)
	}
	d.during("subject.ready.within", r.Within, 10*time.Millisecond, time.Hour)
}

var variantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+=,:@-]*$`)

func (d *decoder) variants(p *experiment.Plan) {
	switch n := len(p.Variants); {
	case n < 2:
		d.Bad("variants", "give two or more, the baseline first: there is nothing to compare with")
	case n > maxVariants:
		d.Bad("variants", "these are %d variants, and %d are the most", n, maxVariants)
		return
	}
	seen := map[string]bool{}
	for i := range p.Variants {
		v, path := &p.Variants[i], fmt.Sprintf("variants[%d]", i)
		switch {
		case v.Name == "":
			d.Bad(path+".name", "a variant has a name")
		case len(v.Name) > maxName || !variantName.MatchString(v.Name):
			d.Bad(path+".name", "%s is no name of a variant: letters, digits and . _ + = , : @ -, and a letter or digit first", strictyaml.Quote(v.Name))
		case seen[v.Name]:
			d.Bad(path+".name", "there are two variants %s", strictyaml.Quote(v.Name))
		}
		seen[v.Name] = true
		d.variant(p, v, path)
	}
}

var (
	godebugForm    = regexp.MustCompile(`^[a-z0-9]+=[^,=\s]+(,[a-z0-9]+=[^,=\s]+)*$`)
	experimentForm = regexp.MustCompile(`^[a-z0-9]+(,[a-z0-9]+)*$`)
	tagForm        = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
)

func (d *decoder) variant(p *experiment.Plan, v *experiment.Variant, path string) {
	says := func(key string, err error) {
		if err != nil {
			d.Bad(path+"."+key, "%s", err)
		}
	}
	if v.GOGC != "" {
		says("gogc", checkGOGC(v.GOGC))
	}
	if v.GOMEMLIMIT != "" {
		says("gomemlimit", checkGOMEMLIMIT(v.GOMEMLIMIT))
	}
	if d.Given(path + ".gomaxprocs") {
		d.within(path+".gomaxprocs", v.GOMAXPROCS, 1, maxProcs)
	}
	if v.GODEBUG != "" && !godebugForm.MatchString(v.GODEBUG) {
		d.Bad(path+".godebug", "%s is no GODEBUG: write name=value, and commas between several", strictyaml.Quote(v.GODEBUG))
	}
	d.args(path+".args", v.Args)
	d.env(path+".env", v.Env)
	for _, k := range slices.Sorted(maps.Keys(v.Env)) {
		if key := variantKeys[k]; key != "" {
			d.Bad(path+".env."+k, "a variant has the key %s for it: write it there, so that the report shows it", key)
		}
	}
	d.build(p, v, path)
	if d.Given(path+".memory_limit") && v.MemoryLimit < minMemory {
		d.Bad(path+".memory_limit", "nothing runs in %d bytes: write 512MiB", v.MemoryLimit)
	}
	if d.Given(path+".cpu_quota") && !(v.CPUQuota >= 0.01 && v.CPUQuota <= maxCores) {
		d.Bad(path+".cpu_quota", "%v is not from 0.01 to %d cores", v.CPUQuota, maxCores)
	}
}

// build checks the keys that decide how a variant is built.
func (d *decoder) build(p *experiment.Plan, v *experiment.Variant, path string) {
	s := &p.Subject
	for key, set := range map[string]bool{
		"toolchain": v.Toolchain != "", "goexperiment": v.GOEXPERIMENT != "", "build_flags": len(v.BuildFlags) > 0, "tags": len(v.Tags) > 0, "pgo": v.PGO != "",
	} {
		if set && len(s.Command) > 0 {
			d.Bad(path+"."+key, builtOnly)
		}
	}
	if v.Toolchain != "" {
		if err := checkToolchain(v.Toolchain); err != nil {
			d.Bad(path+".toolchain", "%s", err)
		}
	}
	if v.GOEXPERIMENT != "" && !experimentForm.MatchString(v.GOEXPERIMENT) {
		d.Bad(path+".goexperiment", "%s is no GOEXPERIMENT: write greenteagc or nogreenteagc, and commas between several", strictyaml.Quote(v.GOEXPERIMENT))
	}
	for i, f := range v.BuildFlags {
		at := fmt.Sprintf("%s.build_flags[%d]", path, i)
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		switch {
		case !strings.HasPrefix(f, "-"):
			if i == 0 || !strings.HasPrefix(v.BuildFlags[i-1], "-") || strings.Contains(v.BuildFlags[i-1], "=") {
				d.Bad(at, "%s is neither a flag of go build nor the value of one", strictyaml.Quote(f))
			}
		case name == "tags" || name == "pgo":
			d.Bad(at, "there is a key for it: %s", name)
		case name == "o" || name == "C":
			d.Bad(at, "-%s is set by heapwright", name)
		}
	}
	for i, t := range v.Tags {
		if !tagForm.MatchString(t) {
			d.Bad(fmt.Sprintf("%s.tags[%d]", path, i), "%s is no build tag", strictyaml.Quote(t))
		}
	}
	switch {
	case v.Revision != "" && s.Git == nil:
		d.Bad(path+".revision", "only a git subject has revisions")
	case v.Revision != "":
		d.revision(path+".revision", v.Revision)
	case s.Git != nil && s.Git.Revision == "":
		d.Bad(path, "which revision? Give the variant one, or subject.git one for all")
	}
	switch versioned := strings.Contains(s.Package, "@"); {
	case v.Version != "" && s.Package == "":
		d.Bad(path+".version", "only a package subject has versions")
	case v.Version != "":
		d.version(path+".version", v.Version)
	case s.Package != "" && !versioned:
		d.Bad(path, "which version? Give the variant one, or subject.package one for all: %s@v1.2.3", s.Package)
	}
}

func (d *decoder) load(p *experiment.Plan) {
	l := &p.Load
	d.one("load", "there is nothing to serve, and an idle program shows little", "http", "grpc", "command")
	if d.Given("load.command") && (len(l.Command) == 0 || l.Command[0] == "") {
		d.Bad("load.command", "there is no program: write it and its arguments as a list")
	}
	d.args("load.command", l.Command)
	if len(l.Command) > 0 && !slices.ContainsFunc(l.Command, func(s string) bool { return ofProcess(s) || strings.Contains(s, "{dir}") }) {
		d.Bad("load.command", "it is the same for every process: say with {port} which one to load")
	}
	if l.HTTP != nil {
		d.http(l.HTTP)
	}
	if l.GRPC != nil {
		d.grpc(l.GRPC)
	}
	if d.Given("load.knee_share") {
		if l.Rate != 0 {
			d.Bad("load.knee_share", "it is a share of the rate that is found with rate: knee; here the rate is given")
		} else if l.KneeShare < 0.05 || l.KneeShare > 0.95 {
			d.Bad("load.knee_share", "%s is not from 5%% to 95%%: at the knee itself nothing can be compared", percent(l.KneeShare))
		}
	}
	d.word("load.arrivals", l.Arrivals, experiment.Poisson, experiment.Constant)
	d.within("load.connections", l.Connections, 1, maxConnections)
	d.during("load.timeout", l.Timeout, time.Millisecond, maxTimeout)
}

var (
	token      = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	grpcMethod = regexp.MustCompile(`^/[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$`)
)

func (d *decoder) http(h *experiment.HTTPLoad) {
	d.word("load.http.protocol", h.Protocol, protocolHTTP1, protocolHTTP2)
	switch n := len(h.Requests); {
	case n == 0:
		d.Bad("load.http.requests", "give one or more, each with a url")
	case n > maxRequests:
		d.Bad("load.http.requests", "these are %d kinds of requests, and %d are the most", n, maxRequests)
		return
	}
	for i := range h.Requests {
		r, path := &h.Requests[i], fmt.Sprintf("load.http.requests[%d]", i)
		d.url(path+".url", r.URL)
		if !token.MatchString(r.Method) || strings.ToUpper(r.Method) != r.Method {
			d.Bad(path+".method", "%s is no method: write GET, POST, PUT, …", strictyaml.Quote(r.Method))
		}
		for _, k := range slices.Sorted(maps.Keys(r.Header)) {
			if !token.MatchString(k) || strings.ContainsAny(r.Header[k], "\r\n") {
				d.Bad(path+".header."+k, "%s is no header line", strictyaml.Quote(k+": "+r.Header[k]))
			}
			d.placeholders(path+".header."+k, r.Header[k], lenient)
		}
		d.placeholders(path+".body", r.Body, lenient)
		if !(r.Weight > 0 && r.Weight <= 1e6) {
			d.Bad(path+".weight", "%v is no weight: more than 0, at most 1000000", r.Weight)
		}
		d.within(path+".expect", r.Expect, 200, 599) // below are no answers yet
	}
}

func (d *decoder) grpc(g *experiment.GRPCLoad) {
	d.address("load.grpc.address", g.Address)
	if !grpcMethod.MatchString(g.Method) {
		d.Bad("load.grpc.method", "%s is no method: write /package.Service/Method", strictyaml.Quote(g.Method))
	}
	if g.JSON != "" && g.Bytes != "" {
		d.Bad("load.grpc.bytes", "there is json already: give one of the two")
	}
	if g.JSON != "" && !json.Valid([]byte(g.JSON)) {
		d.Bad("load.grpc.json", "this is not JSON; {seq} stands inside of a text")
	}
	if _, err := base64.StdEncoding.DecodeString(g.Bytes); err != nil {
		d.Bad("load.grpc.bytes", "this is not base64")
	}
	d.placeholders("load.grpc.json", g.JSON, lenient)
}

func (d *decoder) metrics(p *experiment.Plan) {
	if p.Goal == nil && len(p.Guards) == 0 {
		d.Bad("", "there is neither a goal nor a guard, so that nothing could pass or fail: name the metric to improve, or those that must not get worse")
	}
	if g := p.Goal; g != nil {
		d.metric("goal", g.Metric)
		d.margin("goal", g.Margin)
	}
	if len(p.Guards) > maxGuards {
		d.Bad("guards", "these are %d, and %d are the most", len(p.Guards), maxGuards)
		return
	}
	seen := map[string]bool{}
	for i, g := range p.Guards {
		path := fmt.Sprintf("guards[%d]", i)
		d.metric(path, g.Metric)
		switch {
		case p.Goal != nil && g.Metric == p.Goal.Metric:
			d.Bad(path+".metric", "this is the goal, which is its own guard")
		case seen[g.Metric] && g.Metric != "":
			d.Bad(path+".metric", "%s is guarded twice", strictyaml.Quote(g.Metric))
		}
		seen[g.Metric] = true
		if !d.Given(path + ".margin") {
			d.Bad(path, "how much worse may it get? Give a margin, such as 10%%")
			continue
		}
		d.margin(path, g.Margin)
	}
}

func (d *decoder) metric(path, name string) {
	m, ok := experiment.MetricByName(name)
	if ok {
		if m.Better == experiment.Neither {
			d.Bad(path+".metric", "%s is neither better high nor low: it can be looked at, and not be a goal or guard", name)
		}
		return
	}
	if name == "" {
		d.Bad(path, "which metric? Such as gc_cpu_ratio, rss_peak_bytes or latency_p99_seconds")
		return
	}
	var names []string
	for _, m := range experiment.Metrics() {
		names = append(names, m.Name)
	}
	if like := strictyaml.Near(name, names, 3); len(like) > 0 {
		d.Bad(path+".metric", "%s is not measured; did you mean %s?", strictyaml.Quote(name), strings.Join(like, " or "))
		return
	}
	d.Bad(path+".metric", "%s is not measured; there are %s", strictyaml.Quote(name), strings.Join(names, ", "))
}

func (d *decoder) margin(path string, m experiment.Ratio) {
	if !(m >= 0.001 && m <= 1) {
		d.Bad(path+".margin", "%s is not from 0.1%% to 100%%", percent(m))
	}
}

func percent(r experiment.Ratio) string {
	return strconv.FormatFloat(100*float64(r), 'g', 6, 64) + "%"
}

func (d *decoder) design(g *experiment.Design) {
	d.word("design.kind", g.Kind, experiment.Auto, experiment.Switchback, experiment.Duet, experiment.Both)
	if g.Calibration != 0 && (g.Calibration < minPairs || g.Calibration > maxPairs) {
		d.Bad("design.calibration", "%d is neither 0, for none, nor from %d to %d", g.Calibration, minPairs, maxPairs)
	}
	if n := len(g.Looks); n == 0 || n > maxLooks {
		d.Bad("design.looks", "give 1 to %d numbers of pairs, such as [10, 16, 24]", maxLooks)
	}
	for i, n := range g.Looks {
		path := fmt.Sprintf("design.looks[%d]", i)
		switch {
		case n < minPairs:
			d.Bad(path, "%d pairs have no interval: %d are the fewest", n, minPairs)
		case n > maxPairs:
			d.Bad(path, "%d pairs are more than %d", n, maxPairs)
		case i > 0 && n <= g.Looks[i-1]:
			d.Bad(path, "looks are in order: %d is not more than %d", n, g.Looks[i-1])
		}
	}
	d.during("design.warmup", g.Warmup, 0, 10*time.Minute)
	d.during("design.measure", g.Measure, 100*time.Millisecond, time.Hour)
}

// How sure it is that something in braces is meant for us.
const (
	strict  = true  // in an address: nothing else is in braces there
	lenient = false // in text of the program's own, which may have braces
)

var (
	inBraces  = regexp.MustCompile(`\{([A-Za-z]+)([0-9]*)\}`)
	knownWord = []string{"port", "dir", "variant", "seq"}
)

// placeholders looks for words in braces that are not known but are meant to be,
// and reports whether there are none.
func (d *decoder) placeholders(path, s string, strictly bool) bool {
	before := d.Problems()
	for _, m := range inBraces.FindAllStringSubmatch(s, maxBraces) {
		word, number := m[1], m[2]
		switch {
		case word == "port" && number != "":
			if n, err := strconv.Atoi(number); err != nil || n < 2 || n > 8 {
				d.Bad(path, "there are {port} and {port2} to {port8}, and no %s", strictyaml.Clip(m[0], 20))
			}
		case slices.Contains(knownWord, word) && number == "":
		case strictly:
			d.Bad(path, "%s is not known: there are {port}, {port2} to {port8}, {dir}, {variant} and {seq}", strictyaml.Clip(m[0], 40))
		default:
			for _, w := range knownWord {
				if number == "" && (strings.EqualFold(w, word) || word == w+"s") {
					d.Bad(path, "%s is not known; did you mean {%s}?", strictyaml.Clip(m[0], 40), w)
				}
			}
		}
	}
	return d.Problems() == before
}

// filled is an address as a process would have it.
func filled(s string) string {
	return inBraces.ReplaceAllStringFunc(s, func(m string) string {
		switch {
		case strings.HasPrefix(m, "{port"):
			return "8080"
		case m == "{dir}":
			return "/dir"
		case m == "{seq}":
			return "000000000001"
		}
		return "x"
	})
}

// url checks an http:// URL of the subject.
func (d *decoder) url(path, s string) {
	if s == "" {
		d.Bad(path, "write a URL, such as http://127.0.0.1:{port}/")
		return
	}
	if !d.placeholders(path, s, strict) {
		return
	}
	u, err := url.Parse(filled(s))
	switch {
	case err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil:
		d.Bad(path, "%s is no URL of the subject: write http://127.0.0.1:{port}/path", strictyaml.Quote(s))
	case !ofProcess(s):
		d.Bad(path, "%s is the same for every process, and two run at once in a duet: write {port} for the port", strictyaml.Quote(s))
	}
}

// address checks a HOST:PORT of the subject.
func (d *decoder) address(path, s string) {
	if !d.placeholders(path, s, strict) {
		return
	}
	if rest, ok := strings.CutPrefix(s, "unix:"); ok && strings.HasPrefix(path, "load.grpc") {
		if !strings.HasPrefix(rest, "{dir}/") {
			d.Bad(path, "%s is the same for every process: write unix:{dir}/name", strictyaml.Quote(s))
		}
		return
	}
	host, port, err := net.SplitHostPort(filled(s))
	n, perr := strconv.Atoi(port)
	switch {
	case cmp.Or(err, perr) != nil || n < 1 || n > 1<<16-1 || host == "" || !(hostForm.MatchString(host) || isAddr(host)):
		d.Bad(path, "%s is no address: write 127.0.0.1:{port}", strictyaml.Quote(s))
	case !ofProcess(s):
		d.Bad(path, "%s is the same for every process, and two run at once in a duet: write {port} for the port", strictyaml.Quote(s))
	}
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// ofProcess reports whether an address differs from process to process.
func ofProcess(s string) bool { return strings.Contains(s, "{port") }
