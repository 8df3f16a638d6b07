package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// Options say where to listen, who is let in, and what is served. Listen is needed.
type Options struct {
	Listen string // host:port; port 0 takes a free one
	TLS    TLS    // the zero value is none

	// ReaderTokenFile and OperatorTokenFile hold tokens, one a line, each at least 16
	// bytes long: "TOKEN", or "NAME TOKEN", so that the audit log has a name to say. They
	// are read again when they change. Without a file of readers, who reaches a loopback
	// address is a reader.
	ReaderTokenFile   string
	OperatorTokenFile string
	// LoopbackOperator makes who reaches a loopback address an operator, without a
	// token: every user of this machine. It needs AllowChanges.
	LoopbackOperator bool
	// AllowChanges lets operators change processes. It needs AuditFile.
	AllowChanges bool
	AuditFile    string

	// ExternalURL is where users find this server when it is behind a proxy. Requests that
	// proxies pass on are then answered without a token too, on loopback.
	ExternalURL  string
	AllowedHosts []string // names that requests may be for, besides those of this machine

	UI      fs.FS            // files of the web UI, with index.html; nil for none
	API     http.Handler     // at /api/heapwright/v1/; nil for none
	Metrics http.Handler     // at /metrics; nil for none
	Store   Store            // at /api/v1/; nil for none
	Live    Live             // at /api/heapwright/v1/live; nil for none
	Rules   func() []Rule    // at /api/v1/rules and alerts; nil for none
	Ready   func() error     // what /readyz says; nil for always ready
	Logger  *slog.Logger     // nil for slog.Default
	Now     func() time.Time // nil for time.Now
}

// TLS names files in PEM form. They are read again when they change.
type TLS struct {
	CertFile, KeyFile string
	// ClientCAFile has the authorities of client certificates. A client that brings one is
	// a reader, and an operator if its common name or an organizational unit is in Operators.
	ClientCAFile string
	Readers      []string // the only names that are readers, when there are any
	Operators    []string
}

// A Store answers questions about what is stored: store.Reader.
type Store interface {
	Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error)
	QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error)
	Series(ctx context.Context, matchers []string, from, to time.Time, limit int) ([]labels.Labels, error)
	LabelNames(ctx context.Context, matchers []string, from, to time.Time) ([]string, error)
	LabelValues(ctx context.Context, name string, matchers []string, from, to time.Time) ([]string, error)
}

// A Message is one event of the live stream. Data is one JSON document; it is shared
// by all who get it, and nobody changes it.
type Message struct {
	Event string // of [a-z_]
	Data  []byte
}

// Live is a source of what happens now.
type Live interface {
	// Follow returns what happens to one process, or for "" to all of them, until ctx is
	// done or there is nothing more to come; then it closes the channel. It is called once
	// for all clients that want the same. An error is ErrUnknown, or a reason to say.
	Follow(ctx context.Context, process string) (<-chan Message, error)
}

// ErrUnknown is what Live says of a process that there is not.
var ErrUnknown = errors.New("no such process")

// A Rule is an alerting rule, as Prometheus' API shows one.
type Rule struct {
	Name, Query         string
	For                 time.Duration
	Labels, Annotations map[string]string
	Alerts              []Alert // firing now
}

// An Alert is one that fires.
type Alert struct {
	Labels, Annotations map[string]string
	Since               time.Time
	Value               float64
}

// A ConfigError is why options are refused.
type ConfigError struct {
	Option string // that is wrong or missing, as a field of Options
	Reason string
	Hint   string // what to set
}

func (e *ConfigError) Error() string { return e.Reason + ": " + e.Hint }

// Check refuses options that would let strangers in. It reads no file.
func Check(o Options) error {
	local, err := loopback(o.Listen)
	if err != nil {
		return &ConfigError{"Listen", fmt.Sprintf("listening on %q: %v", o.Listen, err), `give host:port, such as "127.0.0.1:9393"`}
	}
	tls := o.TLS.CertFile != "" && o.TLS.KeyFile != ""
	tokens := o.ReaderTokenFile != "" || o.OperatorTokenFile != ""
	switch {
	case (o.TLS.CertFile == "") != (o.TLS.KeyFile == ""):
		return &ConfigError{"TLS", "TLS needs a certificate and its key", "set both files, or none"}
	case o.TLS.ClientCAFile != "" && !tls:
		return &ConfigError{"TLS", "client certificates need TLS", "set the files of the server's certificate and key too"}
	case !local && !tls:
		return &ConfigError{"TLS", fmt.Sprintf("%s can be reached from other machines, and without TLS tokens and data could be read on the way", o.Listen),
			"listen on 127.0.0.1, or set the files of a certificate and its key"}
	case !local && !tokens && o.TLS.ClientCAFile == "":
		return &ConfigError{"ReaderTokenFile", fmt.Sprintf("%s can be reached from other machines, and everybody would be let in", o.Listen),
			"listen on 127.0.0.1, or set a token file or the authority of client certificates"}
	case o.AllowChanges && o.AuditFile == "":
		return &ConfigError{"AuditFile", "changes are allowed, and nothing would tell who made them", "set the audit file"}
	case o.LoopbackOperator && !o.AllowChanges:
		return &ConfigError{"LoopbackOperator", "a local operator has nothing to operate", "allow changes, or take the local operator out"}
	case o.LoopbackOperator && !local:
		return &ConfigError{"LoopbackOperator", fmt.Sprintf("%s can be reached from other machines", o.Listen), "listen on 127.0.0.1, or use an operator token"}
	case o.LoopbackOperator && o.ExternalURL != "":
		return &ConfigError{"LoopbackOperator", "behind a proxy everybody would be an operator", "use an operator token, or take the external URL out"}
	}
	if o.ExternalURL != "" {
		u, err := url.Parse(o.ExternalURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return &ConfigError{"ExternalURL", fmt.Sprintf("%q is no address of a server", o.ExternalURL), `give one such as "https://heapwright.example.com"`}
		}
		if u.Path != "" && u.Path != "/" {
			return &ConfigError{"ExternalURL", fmt.Sprintf("%q has a path", o.ExternalURL), "let the proxy serve Heapwright under a name of its own"}
		}
	}
	return nil
}

// loopback reports whether only this machine reaches an address to listen on.
func loopback(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, err
	}
	if strings.EqualFold(host, "localhost") {
		return true, nil // New looks at what it came to
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback(), nil
}
