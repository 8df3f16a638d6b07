package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Receivers are servers that take what others measured: PrometheusReceiver,
// VictoriaMetrics and Collector. They are not in All, and are loaded by whoever sends to
// them. VictoriaMetrics and the Collector take two minutes of CPU to build.

// Base is the URL below which a receiver answers.
func (i *Instance) Base() string { return strings.TrimSuffix(i.Pprof, "/debug/pprof") }

// PrometheusReceiver is a Prometheus that scrapes nothing and takes remote writes and
// OTLP.
var PrometheusReceiver = Server{
	Name:   "prometheus",
	Recipe: ladenPrometheus.Recipe,
	configure: func(dir string, port func() int) (config, error) {
		web := local(port())
		file := filepath.Join(dir, "prometheus.yml")
		if err := os.WriteFile(file, []byte("global: {scrape_interval: 1h}\n"), 0o644); err != nil {
			return config{}, err
		}
		return config{
			args: []string{"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", web,
				"--web.enable-remote-write-receiver", "--web.enable-otlp-receiver", "--log.level", "warn"},
			ready: httpReady("http://" + web + "/-/ready"),
			pprof: "http://" + web + "/debug/pprof",
		}, nil
	},
}

// VictoriaMetrics is VictoriaMetrics as a single node. It shows what it took at once,
// where by default it waits for half a minute.
var VictoriaMetrics = Server{
	Name: "victoria-metrics",
	Recipe: Recipe{
		Name:    "victoria-metrics",
		Package: "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics",
		Module:  "github.com/VictoriaMetrics/VictoriaMetrics",
		Version: "v1.122.0",
		Wrapped: true,
	},
	configure: func(dir string, port func() int) (config, error) {
		web := local(port())
		return config{
			args: []string{"-httpListenAddr", web, "-storageDataPath", filepath.Join(dir, "data"), "-search.latencyOffset", "0s",
				"-search.disableCache", "-loggerLevel", "WARN", "-retentionPeriod", "1"},
			ready: httpReady("http://" + web + "/health"),
			pprof: "http://" + web + "/debug/pprof",
		}, nil
	},
}

// Collector is an OpenTelemetry Collector that hands on what comes by OTLP/HTTP, at
// Base, to a server that takes OTLP at a URL. Nothing is queued in it: what it
// acknowledges, that server has.
func Collector(to string) Server {
	return Server{
		Name:   "otelcol",
		Recipe: collectorRecipe,
		configure: func(dir string, port func() int) (config, error) {
			in, health := local(port()), local(port())
			conf := fmt.Sprintf(`
receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
exporters:
  otlphttp:
    endpoint: %q
    sending_queue: {enabled: false}
    retry_on_failure: {enabled: false}
service:
  pipelines: {metrics: {receivers: [otlp], exporters: [otlphttp]}}
  telemetry:
    logs: {level: warn}
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]}
`, in, to, strings.TrimPrefix(health, "127.0.0.1:"))
			file := filepath.Join(dir, "collector.yaml")
			if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
				return config{}, err
			}
			return config{
				args:  []string{"--config", "file:" + file},
				ready: httpReady("http://" + health + "/metrics"),
				pprof: "http://" + in + "/debug/pprof",
			}, nil
		},
	}
}

// collectorRecipe puts a Collector together from those of its parts that are needed, as
// its project means it to be done.
var collectorRecipe = Recipe{
	Name:    "otelcol",
	Package: "go.opentelemetry.io/collector/otelcol",
	Module:  "go.opentelemetry.io/collector/otelcol",
	Version: "v0.142.0",
	Requires: `	go.opentelemetry.io/collector/component v1.48.0
	go.opentelemetry.io/collector/confmap v1.48.0
	go.opentelemetry.io/collector/confmap/provider/fileprovider v1.48.0
	go.opentelemetry.io/collector/exporter v1.48.0
	go.opentelemetry.io/collector/exporter/otlphttpexporter v0.142.0
	go.opentelemetry.io/collector/otelcol v0.142.0
	go.opentelemetry.io/collector/receiver v1.48.0
	go.opentelemetry.io/collector/receiver/otlpreceiver v0.142.0
	go.opentelemetry.io/collector/service v0.142.0`,
	Main: `package main

import (
	"fmt"
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func factories() (f otelcol.Factories, err error) {
	if f.Receivers, err = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory()); err != nil {
		return f, err
	}
	f.Exporters, err = otelcol.MakeFactoryMap[exporter.Factory](otlphttpexporter.NewFactory())
	f.Telemetry = otelconftelemetry.NewFactory()
	return f, err
}

func main() {
	cmd := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "otelcol", Description: "a collector for tests", Version: "0"},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
			DefaultScheme:     "file",
		}},
	})
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`,
}
