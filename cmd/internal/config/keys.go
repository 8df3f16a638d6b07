package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A key is what a key of the file means. A key of a list's items is written items[].key.
type key struct {
	path string
	text string
	// example stands, commented out, where the default is nothing. It is YAML, as it
	// would stand below its section.
	example string
}

// keys are all of them, in the order of the file; a test holds them against File.
var keys = []key{
	{"schema", "What this file is, so that a later heapwright can tell.", ""},
	{"listen", "Where the UI, the API and /metrics are: HOST:PORT. Another address than loopback needs tls, and tokens or client certificates.", ""},
	{"external_url", "The address of the UI as people reach it, for links in alerts, when it stands behind a proxy.", "external_url: https://heapwright.example.com"},
	{"data", "The directory that everything is kept in. Empty: what systemd gives ($STATE_DIRECTORY), else /var/lib/heapwright for root, else heapwright/agent in the user's state directory (~/.local/state).", "data: /var/lib/heapwright"},

	{"discovery", "Which processes are watched.", ""},
	{"discovery.interval", "How often to look for new processes.", ""},
	{"discovery.include", "Only these: parts of, or shell patterns for, the process's name, module or main package. Empty: all Go processes that can be read.", `include: ["nats-*", "github.com/acme/"]`},
	{"discovery.exclude", "Not these, even when included.", `exclude: ["kubectl", "*.test"]`},
	{"discovery.min_uptime", "Younger processes are left alone: a command that ends at once is no service.", ""},
	{"discovery.max_processes", "The most that are watched at once. The others are listed as unseen, with this as the reason.", ""},

	{"sampling", "How often a process is read. Reading does not stop it.", ""},
	{"sampling.interval", "Between two samples, usually.", ""},
	{"sampling.fastest", "Between two samples while something moves.", ""},
	{"sampling.slowest", "Between two samples of a process that does nothing.", ""},
	{"sampling.adaptive", "Whether to go faster and slower at all.", ""},

	{"diagnose", "The rules of heapwright diagnose, run again and again.", ""},
	{"diagnose.interval", "Between two runs.", ""},
	{"diagnose.window", "How much of the past is kept in memory for the rules and for forecasts.", ""},

	{"snapshots", "Goroutine and heap profiles, kept in a ring on disk. The newest hour keeps all; what is older gets sparse.", ""},
	{"snapshots.interval", "Between two of a process. 0: only when asked, and when a finding begins.", ""},
	{"snapshots.max_bytes", "The size of the ring.", ""},
	{"snapshots.per_process_bytes", "The most that one process may take of it.", ""},
	{"snapshots.max_age", "Older ones are deleted.", ""},

	{"storage", "The samples: Prometheus' storage, embedded.", ""},
	{"storage.retention", "Older samples are deleted.", ""},
	{"storage.max_bytes", "The oldest samples are deleted when there are more than this on disk. 0: no limit.", ""},
	{"storage.url", "Read history from this Prometheus-compatible server instead. Samples are still written here, as the buffer of what is forwarded.", "url: https://prometheus.example.com"},
	{"storage.token_file", "A file with the bearer token for that server.", "token_file: /etc/heapwright/prometheus.token"},

	{"history", "Findings, with when they began and ended, and events.", ""},
	{"history.max_bytes", "The oldest are deleted when there are more than this on disk.", ""},

	{"tls", "The server's certificate, in PEM files, which are read again when they change. Empty: plain HTTP, on loopback only.", "cert_file: /etc/heapwright/cert.pem\nkey_file: /etc/heapwright/key.pem"},
	{"tls.cert_file", "The certificate, and those between it and the authority.", ""},
	{"tls.key_file", "Its private key.", ""},
	{"tls.client_ca_file", "The authorities of client certificates, for mutual TLS.", ""},

	{"access", "Who may see, and who may change. Readers see everything. On loopback, without a reader token, everybody on this machine is a reader.", "reader_token_file: /etc/heapwright/readers\noperator_token_file: /etc/heapwright/operators"},
	{"access.reader_token_file", "Tokens of readers: one a line, TOKEN or NAME TOKEN, each at least 16 bytes long.", ""},
	{"access.operator_token_file", "Tokens of operators, who may also change, where changes are allowed.", ""},
	{"access.readers", "Common names, or units (OU), of client certificates. Empty: all that the authorities signed.", ""},
	{"access.operators", "The same, of those who are operators. Empty: none.", ""},
	{"access.allow_changes", "Whether GOGC and GOMEMLIMIT of running processes can be changed from the UI, by operators. Each change is written to audit.log in the data directory, and ends with a lease.", ""},
	{"access.loopback_operator", "Whether everybody on this machine is an operator. Needs allow_changes.", ""},
	{"access.allowed_hosts", "Names that the server is reached by, beside those of listen and external_url. Requests for other names are refused: a web page could be behind them.", "allowed_hosts: [heapwright.internal]"},

	{"experiments", "What heapwright compare measured.", ""},
	{"experiments.dirs", "Directories with its results (.hwcmp), to be shown.", "dirs: [/srv/experiments]"},

	{"log", "What goes to stderr.", ""},
	{"log.level", "debug, info, warn or error.", ""},
	{"log.format", "text or json.", ""},
}

func keyOf(path string) key {
	for _, k := range keys {
		if k.path == path {
			return k
		}
	}
	return key{}
}

// Annotated writes the whole file with its defaults and what each key means. Read
// again, it is the default.
func Annotated(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# The configuration of heapwright serve. Every key is here with its default; leave out\n# what is to stay as it is. heapwright serve --check-config FILE says what is wrong with one.\n")
	annotate(&b, reflect.ValueOf(Default()).Elem(), "", 0)
	_, err := io.WriteString(w, b.String())
	return err
}

const annotatedWidth = 96

func annotate(b *strings.Builder, v reflect.Value, path string, depth int) {
	indent := strings.Repeat("  ", depth)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		p := name
		if path != "" {
			p = path + "." + name
		}
		k, f := keyOf(p), v.Field(i)
		if depth == 0 {
			b.WriteByte('\n')
		}
		if k.text != "" {
			b.WriteString(term.Wrap(k.text, indent+"# ", annotatedWidth) + "\n")
		}
		if isSection(f) {
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			annotate(b, f, p, depth+1)
		} else {
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, format(f))
		}
		for l := range strings.Lines(k.example) {
			in := indent
			if isSection(f) {
				in += "  "
			}
			fmt.Fprintf(b, "%s# %s\n", in, strings.TrimSuffix(l, "\n"))
		}
	}
}

// isSection reports whether a value is keys and values.
func isSection(v reflect.Value) bool { return v.Kind() == reflect.Struct }

// Table is what docs/CONFIG.md says of the keys.
func Table() string {
	var b strings.Builder
	b.WriteString("| key | default | |\n|---|---|---|\n")
	for _, k := range keys {
		def := ""
		if !strings.Contains(k.path, "[]") {
			if v := find(reflect.ValueOf(Default()).Elem(), k.path); v.IsValid() && !isSection(v) {
				def = "`" + format(v) + "`"
			}
		}
		text := strings.ReplaceAll(k.text, "|", `\|`)
		if restart(k.path) {
			text += " ↻"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.path, def, text)
	}
	return b.String()
}

// find is the value of a key.
func find(v reflect.Value, path string) reflect.Value {
	name, rest, more := strings.Cut(path, ".")
	for i := range v.NumField() {
		if n, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); n == name {
			if more {
				return find(v.Field(i), rest)
			}
			return v.Field(i)
		}
	}
	return reflect.Value{}
}
