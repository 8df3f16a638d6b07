package alert

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Config says which alerts there are, and who is told. The zero value is the default
// rules, and nobody.
type Config struct {
	NoDefaults    bool              `yaml:"no_defaults"` // only the rules below
	Rules         []Rule            `yaml:"rules"`       // one with the name of a default takes its place
	Repeat        time.Duration     `yaml:"repeat"`      // after which what still fires is said again; 4h
	Labels        map[string]string `yaml:"labels"`      // beside rule, process and the like, for Alertmanager; instance is the host's name
	Stdout        bool              `yaml:"stdout"`      // a line of JSON each
	Webhooks      []Webhook         `yaml:"webhooks"`
	Alertmanagers []Alertmanager    `yaml:"alertmanagers"`
}

// A Webhook is an address to which each alert is posted as JSON.
type Webhook struct {
	Name       string            `yaml:"name"` // in the status; the host of the URL
	URL        string            `yaml:"url"`
	Headers    map[string]string `yaml:"headers"`
	SecretFile string            `yaml:"secret_file"` // with which the body is signed (HMAC-SHA256)
	Timeout    time.Duration     `yaml:"timeout"`     // of one try; 10s
}

// An Alertmanager is one of Prometheus', or what speaks as it does.
type Alertmanager struct {
	Name            string            `yaml:"name"`
	URL             string            `yaml:"url"` // without /api/v2/alerts
	Headers         map[string]string `yaml:"headers"`
	BearerTokenFile string            `yaml:"bearer_token_file"`
	Timeout         time.Duration     `yaml:"timeout"` // of one try; 10s
}

// Bounds of a configuration.
const (
	maxRules        = 200
	maxDestinations = 20
	maxSecret       = 64 << 10 // bytes of a file
)

// Check says what is wrong with a configuration, all of it. It reads no files.
func (c *Config) Check() error {
	var errs []error
	if len(c.Rules) > maxRules {
		errs = append(errs, fmt.Errorf("rules: more than %d", maxRules))
	}
	seen := map[string]bool{}
	for i, r := range c.Rules {
		if err := r.Check(); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d] (%.40s): %w", i, r.Name, err))
		}
		if seen[r.Name] {
			errs = append(errs, fmt.Errorf("rules[%d]: there are two of the name %.40q", i, r.Name))
		}
		seen[r.Name] = true
	}
	if c.Repeat < 0 || c.Repeat > 0 && c.Repeat < time.Minute {
		errs = append(errs, errors.New("repeat: less than a minute"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		if !labelName.MatchString(name) || len(name) > 100 || len(c.Labels[name]) > 200 {
			errs = append(errs, fmt.Errorf("labels: %.40q is not a name of letters, digits and underscores with a value of at most 200 bytes", name))
		}
	}
	if len(c.Webhooks)+len(c.Alertmanagers) > maxDestinations {
		errs = append(errs, fmt.Errorf("webhooks, alertmanagers: more than %d", maxDestinations))
	}
	for i, w := range c.Webhooks {
		if err := checkDestination(w.URL, w.Headers, w.Timeout); err != nil {
			errs = append(errs, fmt.Errorf("webhooks[%d]: %w", i, err))
		}
	}
	for i, a := range c.Alertmanagers {
		if err := checkDestination(a.URL, a.Headers, a.Timeout); err != nil {
			errs = append(errs, fmt.Errorf("alertmanagers[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

var (
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	headerName = regexp.MustCompile("^[a-zA-Z0-9!#$%&'*+.^_`|~-]+$")
)

func checkDestination(raw string, headers map[string]string, timeout time.Duration) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("url: %.80q is not an http or https address", raw)
	}
	for name, value := range headers {
		if !headerName.MatchString(name) || strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("headers: %.40q is not a header", name)
		}
	}
	if timeout < 0 || timeout > 5*time.Minute {
		return errors.New("timeout: not from 0 to 5m")
	}
	return nil
}

// rules returns the rules in force.
func (c *Config) rules() []Rule {
	var out []Rule
	if !c.NoDefaults {
		for _, d := range Defaults() {
			if !slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Name == d.Name }) {
				out = append(out, d)
			}
		}
	}
	return append(out, c.Rules...)
}

// readSecret reads a file that holds one word.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" || len(b) > maxSecret || strings.ContainsAny(secret, "\r\n\x00") {
		return "", fmt.Errorf("%s does not hold one line with a secret", path)
	}
	return secret, nil
}

func header(headers map[string]string) http.Header {
	h := http.Header{}
	for k, v := range headers {
		h.Set(k, v)
	}
	return h
}
