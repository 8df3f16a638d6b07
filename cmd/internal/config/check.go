package config

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Bounds on what a file may ask for.
const (
	maxProcesses = 10_000
	maxPatterns  = 1000
	minSample    = 200 * time.Millisecond // the grain of the agent's rounds: it would not be kept more often
	maxRetention = 10 * 366 * day
	minSnapshots = 1 << 20
)

// A checker looks for everything that a file cannot mean.
type checker struct{ *strictyaml.Decoder }

func check(d *strictyaml.Decoder, f *File) {
	c := checker{d}
	if f.Schema != Schema {
		c.Bad("schema", "%s is not known: this heapwright reads %s", strictyaml.Quote(f.Schema), Schema)
	}
	c.address("listen", f.Listen)
	if f.ExternalURL != "" {
		if u, err := url.Parse(f.ExternalURL); err == nil && u.Host != "" && strings.Trim(u.Path, "/") != "" {
			c.Bad("external_url", "%s has a path: let the proxy serve heapwright under a name of its own", strictyaml.Quote(f.ExternalURL))
		} else {
			c.url("external_url", f.ExternalURL)
		}
	}
	c.file("data", f.DataDir)

	c.during("discovery.interval", f.Discovery.Interval, time.Second, time.Hour)
	c.during("discovery.min_uptime", f.Discovery.MinUptime, 0, day)
	c.patterns("discovery.include", f.Discovery.Include)
	c.patterns("discovery.exclude", f.Discovery.Exclude)
	c.within("discovery.max_processes", f.Discovery.MaxProcesses, 1, maxProcesses)

	s := &f.Sampling
	c.during("sampling.interval", s.Interval, minSample, time.Minute)
	c.during("sampling.fastest", s.Fastest, minSample, time.Minute)
	c.during("sampling.slowest", s.Slowest, minSample, time.Hour)
	if s.Adaptive {
		// What the file leaves out gives way to what it says.
		if !c.Given("sampling.fastest") {
			s.Fastest = min(s.Fastest, s.Interval)
		}
		if !c.Given("sampling.slowest") {
			s.Slowest = max(s.Slowest, s.Interval)
		}
		if s.Fastest > s.Interval {
			c.Bad("sampling.fastest", "%s is longer than the interval, %s", formatDuration(s.Fastest), formatDuration(s.Interval))
		}
		if s.Slowest < s.Interval {
			c.Bad("sampling.slowest", "%s is shorter than the interval, %s", formatDuration(s.Slowest), formatDuration(s.Interval))
		}
	}

	c.during("diagnose.interval", f.Diagnose.Interval, time.Second, day)
	c.during("diagnose.window", f.Diagnose.Window, 10*time.Second, day)

	n := &f.Snapshots
	if n.Interval != 0 {
		c.during("snapshots.interval", n.Interval, 10*time.Second, 30*day)
	}
	c.atLeast("snapshots.max_bytes", n.MaxBytes, minSnapshots)
	if !c.Given("snapshots.per_process_bytes") {
		n.PerProcess = min(n.PerProcess, n.MaxBytes)
	}
	c.atLeast("snapshots.per_process_bytes", n.PerProcess, minSnapshots)
	if n.PerProcess > n.MaxBytes {
		c.Bad("snapshots.per_process_bytes", "%s is more than all together may take, %s", n.PerProcess, n.MaxBytes)
	}
	c.during("snapshots.max_age", n.MaxAge, time.Hour, maxRetention)

	c.during("storage.retention", f.Storage.Retention, 2*time.Hour, maxRetention)
	if f.Storage.MaxBytes != 0 {
		c.atLeast("storage.max_bytes", f.Storage.MaxBytes, 64<<20)
	}
	if f.Storage.URL != "" {
		c.url("storage.url", f.Storage.URL)
	}
	c.file("storage.token_file", f.Storage.TokenFile)
	if f.Storage.TokenFile != "" && f.Storage.URL == "" {
		c.Bad("storage.token_file", "it is for storage.url, which is not given")
	}
	c.atLeast("history.max_bytes", f.History.MaxBytes, 1<<20)
	c.atLeast("oom.max_bytes", f.OOM.MaxBytes, 1<<20)

	c.access(f)
	c.alerts(&f.Alerts)
	f.Forward.Check(func(field, format string, args ...any) { c.Bad("forward."+field, format, args...) })
	for i, dir := range f.Experiments.Dirs {
		p := item("experiments.dirs", i)
		if dir == "" {
			c.Bad(p, "write a directory that has results of heapwright compare")
		}
		c.file(p, dir)
	}
	c.word("log.level", f.Log.Level, "debug", "info", "warn", "error")
	c.word("log.format", f.Log.Format, "text", "json")
}

// access checks what decides who may do what. Whether the address may be listened on
// with it is decided by who listens.
func (c checker) access(f *File) {
	for _, x := range []struct{ path, name string }{
		{"tls.cert_file", f.TLS.CertFile}, {"tls.key_file", f.TLS.KeyFile}, {"tls.client_ca_file", f.TLS.ClientCAFile},
		{"access.reader_token_file", f.Access.ReaderTokenFile}, {"access.operator_token_file", f.Access.OperatorTokenFile},
	} {
		c.file(x.path, x.name)
	}
	switch {
	case f.TLS.CertFile != "" && f.TLS.KeyFile == "":
		c.Bad("tls.cert_file", "a certificate needs its key: set tls.key_file too")
	case f.TLS.KeyFile != "" && f.TLS.CertFile == "":
		c.Bad("tls.key_file", "a key needs its certificate: set tls.cert_file too")
	case f.TLS.ClientCAFile != "" && f.TLS.CertFile == "":
		c.Bad("tls.client_ca_file", "clients show certificates over TLS only: set tls.cert_file and tls.key_file too")
	}
	for key, names := range map[string][]string{"access.readers": f.Access.Readers, "access.operators": f.Access.Operators} {
		if len(names) > 0 && f.TLS.ClientCAFile == "" {
			c.Bad(key, "these are names of client certificates: set tls.client_ca_file too")
		}
		for i, name := range names {
			if !printable(name) {
				c.Bad(item(key, i), "write the common name or the unit (OU) of a client certificate")
			}
		}
	}
	for i, h := range f.Access.AllowedHosts {
		if !hostName(h) {
			c.Bad(item("access.allowed_hosts", i), "%s is no host name: write heapwright.example.com, without a scheme", strictyaml.Quote(h))
		}
	}
	if f.Access.AllowChanges && f.Access.OperatorTokenFile == "" && len(f.Access.Operators) == 0 && !f.Access.LoopbackOperator {
		c.Bad("access.allow_changes", "nobody is an operator: set access.operator_token_file, access.operators, or access.loopback_operator")
	}
	if f.Access.LoopbackOperator && !f.Access.AllowChanges {
		c.Bad("access.loopback_operator", "operators can do nothing more than readers without access.allow_changes: true")
	}
}

// alerts fills in what rules leave out, and checks them.
func (c checker) alerts(a *alert.Config) {
	seen := map[string]bool{}
	for i := range a.Rules {
		r, p := &a.Rules[i], item("alerts.rules", i)
		if !c.Given(p + ".severity") {
			r.Severity = diagnose.Warning
		}
		c.each(p, r.Check())
		if seen[r.Name] {
			c.Bad(p+".name", "there are two rules %s", strictyaml.Quote(r.Name))
		}
		seen[r.Name] = true
	}
	// All but the rules, of which only the number is left to be looked at.
	rest := *a
	rest.Rules = make([]alert.Rule, len(a.Rules))
	for i := range rest.Rules {
		rest.Rules[i] = alert.Rule{Name: strconv.Itoa(i), Disabled: true}
	}
	c.each("alerts", rest.Check())
}

// keyed is a message that begins with the key that it is about.
var keyed = regexp.MustCompile(`^([a-z_]+(?:\[[0-9]+\])?): (.+)$`)

// each says every line of an error, at the key that it names.
func (c checker) each(path string, err error) {
	if err == nil {
		return
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		p := path
		for m := keyed.FindStringSubmatch(line); m != nil; m = keyed.FindStringSubmatch(line) {
			p, line = p+"."+m[1], m[2]
		}
		c.Bad(p, "%s", line)
	}
}

func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// within checks a whole number.
func (c checker) within(path string, n, low, high int) {
	if n < low || n > high {
		c.Bad(path, "%d is not from %d to %d", n, low, high)
	}
}

// during checks a duration.
func (c checker) during(path string, v, low, high time.Duration) {
	if v < low || v > high {
		c.Bad(path, "%s is not from %s to %s", formatDuration(v), formatDuration(low), formatDuration(high))
	}
}

func (c checker) atLeast(path string, v, low Bytes) {
	if v < low {
		c.Bad(path, "%s is too small to be of use: %s is the least", v, low)
	}
}

// word checks a word that is one of a few.
func (c checker) word(path, s string, words ...string) {
	if slices.Contains(words, s) {
		return
	}
	text := "it is one of " + strings.Join(words, ", ")
	if near := strictyaml.Nearest(s, words); near != "" {
		text = "did you mean " + near + "? " + text
	}
	c.Bad(path, "%s is not known; %s", strictyaml.Quote(s), text)
}

func (c checker) patterns(p string, list []string) {
	if len(list) > maxPatterns {
		c.Bad(p, "these are %d patterns, and %d are the most", len(list), maxPatterns)
		return
	}
	for i, s := range list {
		if _, err := path.Match(s, ""); err != nil || !printable(s) {
			c.Bad(item(p, i), "%s is no pattern: write a part of a name, or nats-*", strictyaml.Quote(s))
		}
	}
}

// file checks the name of a file or directory, which may be empty.
func (c checker) file(path, name string) {
	if name != "" && !printable(name) {
		c.Bad(path, "%s is no name of a file", strictyaml.Quote(name))
	}
}

// address checks a HOST:PORT to listen on.
func (c checker) address(path, s string) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	switch {
	case err != nil:
		c.Bad(path, "%s is no address: write %s", strictyaml.Quote(s), DefaultListen)
	case perr != nil || n < 0 || n > 1<<16-1:
		c.Bad(path, "%s is no port: a number from 1 to 65535, or 0 for any that is free", strictyaml.Quote(port))
	case host != "" && net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil && !hostName(host):
		c.Bad(path, "%s is no host: write an address of this machine, such as 127.0.0.1", strictyaml.Quote(host))
	}
}

func (c checker) url(path, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		c.Bad(path, "%s is no URL: write https://prometheus.example.com", strictyaml.Quote(s))
	case u.User != nil:
		c.Bad(path, "a password does not belong into a URL, which is shown: give a file with a token")
	case u.RawQuery != "" || u.Fragment != "":
		c.Bad(path, "%s has a query or fragment: write the URL without it", strictyaml.Quote(s))
	}
}

func printable(s string) bool {
	return s != "" && len(s) <= 4096 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// hostName reports whether s can be the name of a host.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	if net.ParseIP(s) != nil {
		return true
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-')
	})
}
