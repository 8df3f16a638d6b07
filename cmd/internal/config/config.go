// Package config is the file of heapwright serve: YAML, as a person wrote it, into a
// [File] that is complete and makes sense. Whatever is wrong is said with its line and
// what to write instead, all of it at once; what a reload of a changed file can take
// over, and what needs a restart, is said too.
//
// docs/CONFIG.md says what each key means. This package looks at the text alone:
// whether a certificate is there, or an address is free, is found out by who needs it.
package config

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/forward"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Schema is the schema field of the file.
const Schema = "heapwright.serve/1"

// DefaultListen is where the agent listens where nobody says otherwise: this machine
// alone can reach it. The port spells HEAP on a telephone.
const DefaultListen = "127.0.0.1:4327"

// A File is what the file says, with every default filled in. Durations and sizes
// that are zero mean none, where their key says that none can be.
type File struct {
	Schema      string         `yaml:"schema"`
	Listen      string         `yaml:"listen"`
	ExternalURL string         `yaml:"external_url"` // of the UI, for links in alerts; "" for http(s)://Listen
	DataDir     string         `yaml:"data"`         // "" for what StateDir says
	Discovery   Discovery      `yaml:"discovery"`
	Sampling    Sampling       `yaml:"sampling"`
	Diagnose    Diagnose       `yaml:"diagnose"`
	Snapshots   Snapshots      `yaml:"snapshots"`
	Storage     Storage        `yaml:"storage"`
	History     History        `yaml:"history"`
	TLS         TLS            `yaml:"tls"`
	Access      Access         `yaml:"access"`
	Alerts      alert.Config   `yaml:"alerts"`
	Forward     forward.Config `yaml:"forward"`
	OOM         OOM            `yaml:"oom"`
	Experiments Experiments    `yaml:"experiments"`
	Log         Log            `yaml:"log"`
}

// Discovery says which processes are watched.
type Discovery struct {
	Interval     time.Duration `yaml:"interval"`      // between looks for new processes
	Include      []string      `yaml:"include"`       // patterns of name, module or main package; empty for all
	Exclude      []string      `yaml:"exclude"`       // goes before Include
	MinUptime    time.Duration `yaml:"min_uptime"`    // younger ones are left alone
	MaxProcesses int           `yaml:"max_processes"` // watched at once
}

// Watches reports whether a process with these names is one to watch: its own, its
// module's and its main package's.
func (d *Discovery) Watches(names ...string) bool {
	return (len(d.Include) == 0 || matches(d.Include, names)) && !matches(d.Exclude, names)
}

// matches reports whether one of the names contains, or matches, one of the patterns.
func matches(patterns, names []string) bool {
	for _, p := range patterns {
		for _, n := range names {
			if n == "" {
				continue
			}
			if ok, _ := path.Match(p, n); ok || strings.Contains(n, p) {
				return true
			}
		}
	}
	return false
}

// Sampling says how often a watched process is read.
type Sampling struct {
	Interval time.Duration `yaml:"interval"` // while nothing much happens
	Fastest  time.Duration `yaml:"fastest"`  // while something moves
	Slowest  time.Duration `yaml:"slowest"`  // of an idle process
	Adaptive bool          `yaml:"adaptive"` // false: always Interval
}

// Diagnose says how often, and over how much, the rules run.
type Diagnose struct {
	Interval time.Duration `yaml:"interval"`
	Window   time.Duration `yaml:"window"` // of samples kept in memory for it, and for forecasts
}

// Snapshots says when goroutines and heap profiles are taken, and what is kept.
type Snapshots struct {
	Interval   time.Duration `yaml:"interval"` // 0 for only when asked, or when a finding begins
	MaxBytes   Bytes         `yaml:"max_bytes"`
	PerProcess Bytes         `yaml:"per_process_bytes"`
	MaxAge     time.Duration `yaml:"max_age"`
}

// Storage says how long samples are kept, or where they are read from instead.
type Storage struct {
	Retention time.Duration `yaml:"retention"`
	MaxBytes  Bytes         `yaml:"max_bytes"` // 0 for no limit
	URL       string        `yaml:"url"`       // of a Prometheus-compatible server to read from; "" for the embedded store
	TokenFile string        `yaml:"token_file"`
}

// History bounds the findings and events that are kept.
type History struct {
	MaxBytes Bytes `yaml:"max_bytes"`
}

// OOM is the black box: what is kept of processes that the kernel kills for want of
// memory.
type OOM struct {
	Enabled  bool  `yaml:"enabled"`
	MaxBytes Bytes `yaml:"max_bytes"`
}

// TLS has the server's certificate; without, it speaks plain HTTP, on loopback only.
type TLS struct {
	CertFile     string `yaml:"cert_file"`
	KeyFile      string `yaml:"key_file"`
	ClientCAFile string `yaml:"client_ca_file"` // clients must have a certificate that this signed
}

// Access says who may see, and who may change.
type Access struct {
	ReaderTokenFile   string   `yaml:"reader_token_file"`
	OperatorTokenFile string   `yaml:"operator_token_file"`
	Readers           []string `yaml:"readers"`       // common names, or units, of client certificates; empty for all that ClientCAFile signed
	Operators         []string `yaml:"operators"`     // the same, of those who may change; empty for none
	AllowChanges      bool     `yaml:"allow_changes"` // of settings of running processes, by operators
	LoopbackOperator  bool     `yaml:"loopback_operator"`
	AllowedHosts      []string `yaml:"allowed_hosts"` // names by which the server is reached
}

// Experiments says where the results of compare are.
type Experiments struct {
	Dirs []string `yaml:"dirs"`
}

// Log says what goes to stderr.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Bytes is a size in bytes.
type Bytes int64

// String writes the size as the file has it: 512MiB.
func (b Bytes) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for b != 0 && b%1024 == 0 && i+1 < len(units) {
		b, i = b/1024, i+1
	}
	if b == 0 {
		return "0"
	}
	return fmt.Sprintf("%d%s", int64(b), units[i])
}

// Default is the file that says nothing.
func Default() *File {
	return &File{
		Schema:      Schema,
		Listen:      DefaultListen,
		Discovery:   Discovery{Interval: 5 * time.Second, MinUptime: 2 * time.Second, MaxProcesses: 1000},
		Sampling:    Sampling{Interval: time.Second, Fastest: 200 * time.Millisecond, Slowest: 5 * time.Second, Adaptive: true},
		Diagnose:    Diagnose{Interval: 30 * time.Second, Window: 10 * time.Minute},
		Snapshots:   Snapshots{Interval: 5 * time.Minute, MaxBytes: 1 << 30, PerProcess: 128 << 20, MaxAge: 15 * day},
		Storage:     Storage{Retention: 15 * day},
		History:     History{MaxBytes: 64 << 20},
		OOM:         OOM{Enabled: true, MaxBytes: 512 << 20},
		Experiments: Experiments{},
		Log:         Log{Level: "info", Format: "text"},
	}
}

const day = 24 * time.Hour

// Load reads a file. The error is a [*strictyaml.Errors] where the file was read and
// has mistakes.
func Load(file string) (*File, error) {
	text, err := strictyaml.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(file, text)
}

// StateDir is where the agent keeps its data when the file names no directory: what
// systemd made for it, /var/lib/heapwright of root, or below the user's own state
// directory (XDG). It is "" when there is no place.
func StateDir(getenv func(string) string, uid int) string {
	if d := getenv("STATE_DIRECTORY"); filepath.IsAbs(d) {
		return d
	}
	if uid == 0 {
		return "/var/lib/heapwright"
	}
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "heapwright", "agent")
	}
	if d := getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".local", "state", "heapwright", "agent")
	}
	return ""
}
