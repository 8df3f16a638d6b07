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

// Parts checks what the files of experiments have in common with those of others
// that start a program and load it: the subject, the load, and the values in them.
type Parts struct {
	*strictyaml.Decoder
	// Words are those in braces that are replaced.
	Words []string
	// Duet: two processes may run at once, so that an address of one has a {port}.
	Duet bool
}

// Within checks a whole number.
func (d *Parts) Within(path string, n, low, high int) {
	if n < low || n > high {
		d.Bad(path, "%d is not from %d to %d", n, low, high)
	}
}

// During checks a duration.
func (d *Parts) During(path string, v, low, high time.Duration) {
	if v < low || v > high {
		d.Bad(path, "%v is not from %v to %v", v, low, high)
	}
}

// Word checks a word that is one of a few.
func (d *Parts) Word(path, s string, words ...string) {
	if slices.Contains(words, s) {
		return
	}
	text := "it is one of " + strings.Join(words, ", ")
	if near := strictyaml.Nearest(s, words); near != "" {
		text = "did you mean " + near + "? " + text
	}
	d.Bad(path, "%s is not known; %s", strictyaml.Quote(s), text)
}

// One checks that exactly one of some keys is given.
func (d *Parts) One(path, what string, keys ...string) {
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

// Subject checks the program under test, whose keys stand under path.
func (d *Parts) Subject(path string, s *experiment.Subject) {
	d.One(path, "there is no program to run", "command", "package", "source", "git")
	if d.Given(path+".command") && (len(s.Command) == 0 || s.Command[0] == "") {
		d.Bad(path+".command", "there is no program: write [./server], with its first arguments after it")
	}
	if d.Given(path + ".package") {
		d.pkg(path+".package", s.Package)
	}
	if d.Given(path+".source") && s.Source == "" {
		d.Bad(path+".source", "write the directory of a main package, such as ./cmd/server; it is relative to this file")
	}
	if g := s.Git; g != nil {
		if g.Repository == "" {
			d.Bad(path+".git.repository", "write the directory of the repository, relative to this file")
		}
		if rest, ok := strings.CutPrefix(g.Package, "./"); g.Package != "." && (!ok || !filepath.IsLocal(rest)) {
			d.Bad(path+".git.package", "%s is not in the repository: write ./cmd/server, relative to its top", strictyaml.Quote(g.Package))
		}
		if g.Revision != "" {
			d.revision(path+".git.revision", g.Revision)
		}
	}
	d.Args(path+".command", s.Command)
	d.Args(path+".args", s.Args)
	d.Env(path+".env", s.Env)
	d.files(path+".files", s.Files)
	d.ready(path+".ready", &s.Ready)
	d.Word(path+".stop.signal", s.Stop.Signal, "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL")
	d.During(path+".stop.within", s.Stop.Within, 10*time.Millisecond, time.Hour)
}

var (
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~/-]*$`)
	versionForm = regexp.MustCompile(`^(v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?|[0-9a-f]{7,64})$`)
)

func (d *Parts) pkg(path, s string) {
	name, version, ok := strings.Cut(s, "@")
	switch {
	case !packageForm.MatchString(name) || !strings.Contains(strings.Split(name, "/")[0], "."):
		d.Bad(path, "%s is no package with its module's host: write example.com/cmd/server@v1.2.3", strictyaml.Quote(s))
	case ok:
		d.version(path, version)
	}
}

// version checks a version that will be the same tomorrow.
func (d *Parts) version(path, s string) {
	if !versionForm.MatchString(s) {
		d.Bad(path, "%s is no exact version: write v1.2.3 or a commit, so that the experiment can be repeated", strictyaml.Quote(s))
	}
}

func (d *Parts) revision(path, s string) {
	if strings.HasPrefix(s, "-") || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }) {
		d.Bad(path, "%s is no revision: write a commit, tag or branch", strictyaml.Quote(s))
	}
}

// Args checks the words in braces of arguments.
func (d *Parts) Args(path string, args []string) {
	for i, a := range args {
		d.placeholders(fmt.Sprintf("%s[%d]", path, i), a, lenient)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Env checks environment variables.
func (d *Parts) Env(path string, env map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		v, p := env[k], path+"."+k
		if !envName.MatchString(k) {
			d.Bad(p, "%s is no name of an environment variable: letters, digits and _, and no digit first", strictyaml.Quote(k))
			continue
		}
		var err error
		switch k {
		case "GOGC":
			err = CheckGOGC(v)
		case "GOMEMLIMIT":
			err = CheckGOMEMLIMIT(v)
		}
		if err != nil && v != "" {
			d.Bad(p, "%s", err)
		}
		d.placeholders(p, v, lenient)
	}
}

func (d *Parts) files(at string, files map[string]string) {
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		p := at + "." + name
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

func (d *Parts) ready(path string, r *experiment.Ready) {
	if d.Given(path+".http") && d.Given(path+".tcp") {
		d.Bad(path+".tcp", "there is http already: give one of the two")
	}
	if r.HTTP != "" || d.Given(path+".http") {
		d.URL(path+".http", r.HTTP)
	}
	if r.TCP != "" || d.Given(path+".tcp") {
		d.Address(path+".tcp", r.TCP)
	}
	d.During(path+".within", r.Within, 10*time.Millisecond, time.Hour)
}

// Load checks what the subject serves, whose keys stand under load.
func (d *Parts) Load(l *experiment.Load) {
	d.One("load", "there is nothing to serve, and an idle program shows little", "http", "grpc", "command")
	if d.Given("load.command") && (len(l.Command) == 0 || l.Command[0] == "") {
		d.Bad("load.command", "there is no program: write it and its arguments as a list")
	}
	d.Args("load.command", l.Command)
	if d.Duet && len(l.Command) > 0 && !slices.ContainsFunc(l.Command, func(s string) bool { return ofProcess(s) || strings.Contains(s, "{dir}") }) {
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
	d.Word("load.arrivals", l.Arrivals, experiment.Poisson, experiment.Constant)
	d.Within("load.connections", l.Connections, 1, maxConnections)
	d.During("load.timeout", l.Timeout, time.Millisecond, maxTimeout)
}

var (
	token      = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	grpcMethod = regexp.MustCompile(`^/[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$`)
)

func (d *Parts) http(h *experiment.HTTPLoad) {
	d.Word("load.http.protocol", h.Protocol, protocolHTTP1, protocolHTTP2)
	switch n := len(h.Requests); {
	case n == 0:
		d.Bad("load.http.requests", "give one or more, each with a url")
	case n > maxRequests:
		d.Bad("load.http.requests", "these are %d kinds of requests, and %d are the most", n, maxRequests)
		return
	}
	for i := range h.Requests {
		r, path := &h.Requests[i], fmt.Sprintf("load.http.requests[%d]", i)
		d.URL(path+".url", r.URL)
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
		d.Within(path+".expect", r.Expect, 200, 599) // below are no answers yet
	}
}

func (d *Parts) grpc(g *experiment.GRPCLoad) {
	d.Address("load.grpc.address", g.Address)
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

// How sure it is that something in braces is meant for us.
const (
	strict  = true  // in an address: nothing else is in braces there
	lenient = false // in text of the program's own, which may have braces
)

var inBraces = regexp.MustCompile(`\{([A-Za-z]+)([0-9]*)\}`)

// placeholders looks for words in braces that are not known but are meant to be,
// and reports whether there are none.
func (d *Parts) placeholders(path, s string, strictly bool) bool {
	before := d.Problems()
	for _, m := range inBraces.FindAllStringSubmatch(s, maxBraces) {
		word, number := m[1], m[2]
		known := slices.Contains(d.Words, word)
		switch {
		case known && word == "port" && number != "":
			if n, err := strconv.Atoi(number); err != nil || n < 2 || n > 8 {
				d.Bad(path, "there are {port} and {port2} to {port8}, and no %s", strictyaml.Clip(m[0], 20))
			}
		case known && number == "":
		case strictly:
			d.Bad(path, "%s is not known: %s", strictyaml.Clip(m[0], 40), d.thereAre())
		default:
			for _, w := range d.Words {
				if number == "" && (strings.EqualFold(w, word) || word == w+"s") {
					d.Bad(path, "%s is not known; did you mean {%s}?", strictyaml.Clip(m[0], 40), w)
				}
			}
		}
	}
	return d.Problems() == before
}

// thereAre lists the words in braces.
func (d *Parts) thereAre() string {
	var all []string
	for _, w := range d.Words {
		all = append(all, "{"+w+"}")
		if w == "port" {
			all = append(all, "{port2} to {port8}")
		}
	}
	switch n := len(all); n {
	case 0:
		return "there are none"
	case 1:
		return "there is " + all[0]
	default:
		return "there are " + strings.Join(all[:n-1], ", ") + " and " + all[n-1]
	}
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

// URL checks an http:// URL of the subject.
func (d *Parts) URL(path, s string) {
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
	case d.Duet && !ofProcess(s):
		d.Bad(path, "%s is the same for every process, and two run at once in a duet: write {port} for the port", strictyaml.Quote(s))
	}
}

// Address checks a HOST:PORT of the subject.
func (d *Parts) Address(path, s string) {
	if !d.placeholders(path, s, strict) {
		return
	}
	if rest, ok := strings.CutPrefix(s, "unix:"); ok && path == "load.grpc.address" {
		if d.Duet && !strings.HasPrefix(rest, "{dir}/") {
			d.Bad(path, "%s is the same for every process: write unix:{dir}/name", strictyaml.Quote(s))
		}
		return
	}
	host, port, err := net.SplitHostPort(filled(s))
	n, perr := strconv.Atoi(port)
	switch {
	case cmp.Or(err, perr) != nil || n < 1 || n > 1<<16-1 || host == "" || !(hostForm.MatchString(host) || isAddr(host)):
		d.Bad(path, "%s is no address: write 127.0.0.1:{port}", strictyaml.Quote(s))
	case d.Duet && !ofProcess(s):
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
