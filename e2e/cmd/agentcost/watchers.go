package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/heapwright/heapwright/e2e/servers"
)

// An observer is something that watches the processes: one program or several together.
type observer struct {
	name     string
	programs []*program
	agent    string // URL of heapwright's agent, "" for others
	prom     string // URL of the peers' Prometheus
}

func (o *observer) stop() error {
	var errs []error
	for _, p := range o.programs {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// Versions of the peers. They are fixed, so that numbers can be compared.
const (
	nodeExporter    = "v1.12.1"
	processExporter = "v0.8.7"
)

// buildPeer builds a program of a module as it is released. The module's own list of
// versions is not asked for: not every proxy has it.
func buildPeer(ctx context.Context, module, version, pkg string) (string, error) {
	cache, err := servers.CacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Base(pkg)
	bin := filepath.Join(cache, fmt.Sprintf("%s-%s-%s", name, version, runtime.Version()), name)
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "heapwright-peer-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	mod := fmt.Sprintf("module heapwright.invalid/subject\n\ngo %s\n\nrequire %s %s\n", strings.TrimPrefix(runtime.Version(), "go"), module, version)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", bin, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s %s: %w\n%.2000s", name, version, err, text)
	}
	return bin, nil
}

// startAgent runs heapwright serve in a new directory. more are lines of its
// configuration.
func startAgent(ctx context.Context, heapwright, dir, name string, more ...string) (*observer, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// Others run on the machine, too: only the subjects are to be watched.
	conf := append([]string{"listen: " + addr, "data: " + filepath.Join(dir, "data"), "discovery: {include: [" + subjectName + "]}"}, more...)
	file := filepath.Join(dir, "serve.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	p, err := start(dir, "heapwright", heapwright, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	return &observer{name: name, programs: []*program{p}, agent: "http://" + addr}, nil
}

// watches waits until an agent reads n processes.
func (o *observer) watches(ctx context.Context, n int) error {
	err := until(ctx, fmt.Sprintf("watching %d processes", n), 2*time.Minute, func() (bool, error) {
		s, err := o.status(ctx)
		return err == nil && s.Discovery.Watched >= n && s.Discovery.Unread == 0 && s.Agent.Samples >= uint64(n), err
	})
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", o.name, err, o.programs[0].said())
	}
	return nil
}

// A status is what an agent says of itself.
type status struct {
	Agent struct {
		Samples       uint64
		Points        uint64
		DroppedPoints uint64  `json:"dropped_points"`
		LostCycles    uint64  `json:"lost_cycles"`
		LateRounds    uint64  `json:"late_rounds"`
		PerSecond     float64 `json:"samples_per_second"`
	}
	Store struct {
		Series      int
		Appended    int64
		BlocksBytes int64 `json:"blocks_bytes"`
		WALBytes    int64 `json:"wal_bytes"`
		HeadBytes   int64 `json:"head_bytes"`
	}
	Vault struct {
		Bytes int64
	}
	Discovery struct {
		Watched, Unread int
	}
}

func (o *observer) status(ctx context.Context) (s status, err error) {
	return s, getJSON(ctx, o.agent+"/api/heapwright/v1/status", &s)
}

// startExporters runs node_exporter, process-exporter and a Prometheus that scrapes both.
func startExporters(ctx context.Context, dir string, smaps bool) (*observer, error) {
	node, err := buildPeer(ctx, "github.com/prometheus/node_exporter", nodeExporter, "github.com/prometheus/node_exporter")
	if err != nil {
		return nil, err
	}
	process, err := buildPeer(ctx, "github.com/ncabatoff/process-exporter", processExporter, "github.com/ncabatoff/process-exporter/cmd/process-exporter")
	if err != nil {
		return nil, err
	}
	prometheus, err := servers.PrometheusReceiver.Recipe.Build(ctx)
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "exporters")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var addr [3]string
	for i := range addr {
		if addr[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	// A group for each process, as Heapwright tells them apart. Others are left out.
	groups := fmt.Sprintf("process_names:\n- name: \"{{.Comm}}:{{.PID}}\"\n  comm: [%s]\n", subjectName)
	scrape := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- {job_name: node, static_configs: [{targets: [%q]}]}\n- {job_name: process, static_configs: [{targets: [%q]}]}\n", addr[0], addr[1])
	for name, text := range map[string]string{"process.yml": groups, "prometheus.yml": scrape} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	o := &observer{name: "exporters", prom: "http://" + addr[2]}
	watcher := "process-exporter"
	if smaps {
		watcher += ", as it comes"
	}
	for _, s := range []struct {
		name, bin string
		args      []string
	}{
		{"node_exporter", node, []string{"--web.listen-address", addr[0]}},
		{watcher, process, []string{"-web.listen-address", addr[1], "-config.path", filepath.Join(dir, "process.yml"), "-threads=false", fmt.Sprintf("-gather-smaps=%t", smaps)}},
		{"prometheus", prometheus, []string{"--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr[2], "--log.level", "warn"}},
	} {
		p, err := start(dir, s.name, s.bin, s.args...)
		if err != nil {
			return nil, errors.Join(err, o.stop())
		}
		o.programs = append(o.programs, p)
	}
	return o, nil
}

// scrapes waits until the Prometheus has CPU times of n processes.
func (o *observer) scrapes(ctx context.Context, n int) error {
	return until(ctx, fmt.Sprintf("scraping %d processes", n), 2*time.Minute, func() (bool, error) {
		v, err := o.promValue(ctx, "count(namedprocess_namegroup_num_procs > 0) and on() (sum(up) == 2)")
		return err == nil && v >= float64(n), err
	})
}

// promValue is the value of an expression of the peers' Prometheus now.
func (o *observer) promValue(ctx context.Context, expr string) (float64, error) {
	var doc struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := getJSON(ctx, o.prom+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), &doc); err != nil {
		return 0, err
	}
	if len(doc.Data.Result) == 0 {
		return 0, fmt.Errorf("%s has no value", expr)
	}
	var v float64
	_, err := fmt.Sscan(fmt.Sprint(doc.Data.Result[0].Value[1]), &v)
	return v, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func getJSON(ctx context.Context, from string, doc any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %.300s", from, resp.Status, text)
	}
	return json.Unmarshal(text, doc)
}
