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

// keys are all of them, in the order of the file; a test holds them against File. The
// destinations of forward have the same keys, which are here once.
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

	{"alerts", "When somebody is told, and who. Without a key here the default rules hold, and the UI alone shows them.", ""},
	{"alerts.no_defaults", "Whether the default rules are left out: headroom-low, headroom-critical, gc-cpu-high, gc-storm, goroutine-growth, oom-kill and finding.", ""},
	{"alerts.rules", "More rules, or others in place of defaults, by name.", "rules:\n- name: headroom-low\n  process: \"batch-*\"\n  signal: headroom_ratio\n  below: 0.05\n  for: 5m\n- {name: goroutine-growth, disabled: true}"},
	{"alerts.rules[].name", "A word.", ""},
	{"alerts.rules[].severity", "info, warning or critical; warning when left out. An alert about a finding has the finding's.", ""},
	{"alerts.rules[].process", "A pattern of the processes that it is about, with * and ?. Empty: all.", ""},
	{"alerts.rules[].signal", "What it looks at: headroom_ratio, headroom_bytes, gc_cpu_ratio, assist_ratio, gc_cycles_per_second, alloc_bytes_per_second, cpu_cores, rss_bytes, goroutines, goroutine_growth_ratio, time_to_limit_seconds, age_seconds, oom_kills, finding or process_gone.", ""},
	{"alerts.rules[].above", "It fires when the value is above this all the time for so long as `for` says.", ""},
	{"alerts.rules[].below", "Or below this.", ""},
	{"alerts.rules[].for", "1m when left out.", ""},
	{"alerts.rules[].clear_above", "Of a rule with below: it clears when the value is above this for so long as clear_for says; a tenth more than below when left out.", ""},
	{"alerts.rules[].clear_below", "The same of a rule with above, a tenth less.", ""},
	{"alerts.rules[].clear_for", "5m when left out.", ""},
	{"alerts.rules[].with", "Conditions that have to hold too for it to fire.", ""},
	{"alerts.rules[].with[].signal", "One of the signals with a value that goes up and down.", ""},
	{"alerts.rules[].with[].above", "", ""},
	{"alerts.rules[].with[].below", "", ""},
	{"alerts.rules[].level", "Of the signal finding: the lowest severity; warning when left out.", ""},
	{"alerts.rules[].remedy", "What to do, for who gets the alert.", ""},
	{"alerts.rules[].disabled", "To turn off one of the defaults.", ""},
	{"alerts.repeat", "After which an alert that still fires is told again. 0: 4h.", ""},
	{"alerts.labels", "More labels, for Alertmanager.", "labels: {team: payments}"},
	{"alerts.stdout", "Whether each alert is a line of JSON on stdout.", ""},
	{"alerts.webhooks", "Addresses that each alert is posted to, as JSON.", "webhooks:\n- {url: https://hooks.example.com/heapwright, secret_file: /etc/heapwright/hook.secret}"},
	{"alerts.webhooks[].name", "In messages; the URL's host when left out.", ""},
	{"alerts.webhooks[].url", "", ""},
	{"alerts.webhooks[].headers", "More headers of the request.", ""},
	{"alerts.webhooks[].secret_file", "A file with what the body is signed with: HMAC-SHA256.", ""},
	{"alerts.webhooks[].timeout", "Of one try; 10s when left out.", ""},
	{"alerts.alertmanagers", "Prometheus' Alertmanagers.", "alertmanagers:\n- {url: \"http://alertmanager.example.com:9093\"}"},
	{"alerts.alertmanagers[].name", "In messages; the URL's host when left out.", ""},
	{"alerts.alertmanagers[].url", "Without /api/v2/alerts.", ""},
	{"alerts.alertmanagers[].headers", "More headers of the request.", ""},
	{"alerts.alertmanagers[].bearer_token_file", "A file with a token.", ""},
	{"alerts.alertmanagers[].timeout", "Of one try; 10s when left out.", ""},

	{"forward", "Servers that samples and profiles are sent to as well. What they have not taken yet is kept in storage, for as long as that reaches back.", ""},
	{"forward.remote_write", "By Prometheus remote write.", "remote_write:\n- url: http://prometheus.example.com:9090/api/v1/write\n  bearer_token_file: /etc/heapwright/prometheus.token"},
	{"forward.*[].name", "In messages, and of the file that says how far it got; the URL's host and port when left out.", ""},
	{"forward.*[].url", "Of remote_write the whole URL; of otlp /v1/metrics is meant where there is no path; of pyroscope the server's.", ""},
	{"forward.*[].headers", "More headers of the requests, such as X-Scope-OrgID.", ""},
	{"forward.*[].bearer_token_file", "A file with a token.", ""},
	{"forward.*[].basic_auth", "A user with a password.", ""},
	{"forward.*[].basic_auth.username", "", ""},
	{"forward.*[].basic_auth.password_file", "A file with the password.", ""},
	{"forward.*[].tls", "Whom to trust, and who we are.", ""},
	{"forward.*[].tls.ca_file", "Authorities in place of the system's.", ""},
	{"forward.*[].tls.cert_file", "A certificate to show.", ""},
	{"forward.*[].tls.key_file", "Its key.", ""},
	{"forward.*[].tls.server_name", "The name in the server's certificate, where it is not the URL's.", ""},
	{"forward.*[].tls.insecure_skip_verify", "Whether anybody may be that server.", ""},
	{"forward.*[].timeout", "Of one request; 30s when left out.", ""},
	{"forward.*[].backfill", "How much of the past is sent the first time. 0: none.", ""},
	{"forward.otlp", "By OTLP/HTTP, to a collector; with the keys of remote_write.", "otlp:\n- {url: \"http://collector.example.com:4318\"}"},
	{"forward.pyroscope", "Profiles, to Pyroscope; with the keys of remote_write.", "pyroscope:\n- {url: \"http://pyroscope.example.com:4040\"}"},

	{"oom", "The black box: profiles and memory of a process, taken just before the kernel kills it for want of memory, kept as post-mortems.", ""},
	{"oom.enabled", "Whether it runs. It reads the processes that are watched a little more often as they near their limits.", ""},
	{"oom.max_bytes", "The oldest post-mortems are deleted when there are more than this on disk.", ""},

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
	b.WriteString("# The configuration of heapwright serve. Every key is here with its default; leave out\n# what is to stay as it is. heapwright serve --config FILE --check-config says what is wrong\n# with one.\n")
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
