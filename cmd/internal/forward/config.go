package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Config says where to send what. The zero value sends nothing.
type Config struct {
	RemoteWrite []Destination `yaml:"remote_write"` // Prometheus remote write 1.0; the URL is whole
	OTLP        []Destination `yaml:"otlp"`         // OTLP/HTTP metrics; without a path, /v1/metrics is meant
	Pyroscope   []Destination `yaml:"pyroscope"`    // the server's base URL
}

// A Destination is a server, and how to be let in there.
type Destination struct {
	// Name is that of the destination in messages and of its cursor's file. "" is the
	// URL's host and port.
	Name            string            `yaml:"name"`
	URL             string            `yaml:"url"`
	Headers         map[string]string `yaml:"headers"` // X-Scope-OrgID and the like
	BearerTokenFile string            `yaml:"bearer_token_file"`
	BasicAuth       BasicAuth         `yaml:"basic_auth"`
	TLS             TLS               `yaml:"tls"`
	Timeout         time.Duration     `yaml:"timeout"`  // of a request; 30 s
	Backfill        time.Duration     `yaml:"backfill"` // how much of the past is sent the first time
}

// BasicAuth is a user with a password, which is in a file.
type BasicAuth struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
}

// TLS says whom to trust, and who we are.
type TLS struct {
	CAFile             string `yaml:"ca_file"` // in place of the system's authorities
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"` // in the certificate, where it is not the URL's
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
	maxBackfill    = 10 * 366 * 24 * time.Hour
	maxOfAKind     = 16 // destinations
	maxHeaders     = 32
)

// The kinds of destination.
const (
	kindRemoteWrite = "remote_write"
	kindOTLP        = "otlp"
	kindPyroscope   = "pyroscope"
)

// Empty reports whether there is nowhere to send anything.
func (c *Config) Empty() bool { return len(c.RemoteWrite)+len(c.OTLP)+len(c.Pyroscope) == 0 }

// Validate returns what is wrong, each with the field that it is about, such as
// remote_write[0].url.
func (c *Config) Validate() error {
	var errs []error
	c.Check(func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	})
	return errors.Join(errs...)
}

// Check tells bad of everything that is wrong, by field.
func (c *Config) Check(bad func(field, format string, args ...any)) {
	for _, k := range []struct {
		kind string
		all  []Destination
	}{{kindRemoteWrite, c.RemoteWrite}, {kindOTLP, c.OTLP}, {kindPyroscope, c.Pyroscope}} {
		if len(k.all) > maxOfAKind {
			bad(k.kind, "%d destinations are more than the %d that are served", len(k.all), maxOfAKind)
			continue
		}
		names := map[string]bool{}
		for i := range k.all {
			d := &k.all[i]
			field := fmt.Sprintf("%s[%d]", k.kind, i)
			d.check(k.kind, func(key, format string, args ...any) { bad(field+"."+key, format, args...) })
			if n := d.name(); n != "" && names[n] {
				bad(field+".name", "two destinations are called %q: give this one another name", n)
			}
			names[d.name()] = true
		}
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (d *Destination) check(kind string, bad func(key, format string, args ...any)) {
	if d.Name != "" && !nameForm.MatchString(d.Name) {
		bad("name", "write up to 64 letters, digits, dots, dashes and underscores")
	}
	u, err := url.Parse(d.URL)
	switch {
	case d.URL == "":
		bad("url", "it is missing: write %s", exampleURL[kind])
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		bad("url", "this is no URL of a server: write %s", exampleURL[kind])
	case u.User != nil:
		bad("url", "a password does not belong here: use basic_auth with a password_file")
	case u.Fragment != "":
		bad("url", "a server never sees what follows #")
	case kind == kindRemoteWrite && strings.Trim(u.Path, "/") == "":
		bad("url", "write the whole URL, with the path: %s", exampleURL[kind])
	}
	if d.BearerTokenFile != "" && (d.BasicAuth != BasicAuth{}) {
		bad("bearer_token_file", "there is basic_auth too: use one of them")
	}
	switch b := d.BasicAuth; {
	case b.Username == "" && b.PasswordFile != "":
		bad("basic_auth.username", "a password needs a user")
	case strings.Contains(b.Username, ":"):
		bad("basic_auth.username", "a colon cannot be sent")
	case b.Username != "" && b.PasswordFile == "":
		bad("basic_auth.password_file", "write the name of the file with the password")
	}
	if len(d.Headers) > maxHeaders {
		bad("headers", "%d are more than the %d that are sent", len(d.Headers), maxHeaders)
	}
	for _, name := range sortedKeys(d.Headers) {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(d.Headers[name]):
			bad("headers", "%.60q is no header that HTTP can carry", name)
		case slices.Contains(ownHeaders, strings.ToLower(name)):
			bad("headers", "%s is set by heapwright", name)
		case strings.EqualFold(name, "authorization"):
			bad("headers", "a secret does not belong here: use bearer_token_file or basic_auth")
		}
	}
	t := d.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		bad("tls", "a certificate needs its key: set cert_file and key_file")
	}
	if u != nil && u.Scheme == "http" && t != (TLS{}) {
		bad("tls", "the URL is http, which has no TLS: write https")
	}
	if d.Timeout < 0 || d.Timeout > maxTimeout || d.Timeout > 0 && d.Timeout < time.Second {
		bad("timeout", "%s is not from 1s to %s", d.Timeout, maxTimeout)
	}
	if d.Backfill < 0 || d.Backfill > maxBackfill {
		bad("backfill", "%s is not from 0 to ten years", d.Backfill)
	}
}

var exampleURL = map[string]string{
	kindRemoteWrite: "http://prometheus.example:9090/api/v1/write",
	kindOTLP:        "http://collector.example:4318/v1/metrics",
	kindPyroscope:   "http://pyroscope.example:4040",
}

// ownHeaders are those that a request has anyway.
var ownHeaders = []string{"content-type", "content-encoding", "content-length", "transfer-encoding", "host", "connection", "user-agent",
	"x-prometheus-remote-write-version", "te", "trailer", "upgrade"}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// name is what the destination is called.
func (d *Destination) name() string {
	if d.Name != "" {
		return d.Name
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return ""
	}
	n := notInNames.ReplaceAllString(u.Host, "-")
	return strings.TrimLeft(n[:min(len(n), 64)], "._-")
}

// endpoint is the address that requests go to.
func (d *Destination) endpoint(kind string) string {
	u, err := url.Parse(d.URL)
	if err != nil {
		return d.URL
	}
	switch {
	case kind == kindOTLP && strings.Trim(u.Path, "/") == "":
		u.Path = "/v1/metrics"
	case kind == kindPyroscope:
		u.Path = strings.TrimRight(u.Path, "/") + pushPath
	}
	return u.String()
}

// inTheClear reports whether credentials would cross a network unencrypted.
func (d *Destination) inTheClear() bool {
	u, err := url.Parse(d.URL)
	if err != nil || u.Scheme != "http" || d.BearerTokenFile == "" && d.BasicAuth == (BasicAuth{}) {
		return false
	}
	return !loopback(u.Hostname())
}

func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
