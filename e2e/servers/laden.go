package servers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Laden lists the same servers, and Prometheus, with tens of megabytes that live
// and a load that allocates: as subjects for what concerns the garbage collector,
// which a server fresh from its start has little to do for. Prometheus takes nine
// minutes of CPU to build, so it is not among [All].
func Laden() []Server {
	return []Server{ladenNATS, ladenEtcd, ladenCaddy, ladenCoreDNS, ladenPrometheus}
}

// older are the releases of servers that Go releases before 1.23 build.
var older = map[string]string{"nats": "v2.10.22", "caddy": "v2.8.4", "coredns": "v1.11.3"}

// ErrTooOld says that a Go release builds none of the releases of a server that
// are known here.
var ErrTooOld = errors.New("the Go release is too old for it")

// BuiltWith is the recipe for a Go release such as "go1.22.12", or ErrTooOld.
func (s Server) BuiltWith(toolchain string) (Recipe, error) {
	r := s.Recipe
	r.Toolchain = toolchain
	if version.Compare(toolchain, "go1.23") < 0 {
		v, ok := older[s.Name]
		if !ok {
			return Recipe{}, fmt.Errorf("building %s with %s: %w", s.Name, toolchain, ErrTooOld)
		}
		r.Version = v
	}
	return r, nil
}

// ladenNATS keeps the newest 32 MiB of what is published in a stream in memory.
var ladenNATS = Server{
	Name:   "nats",
	Recipe: NATS.Recipe,
	configure: func(dir string, port func() int) (config, error) {
		c, err := NATS.configure(dir, port)
		if err != nil {
			return config{}, err
		}
		addr := c.args[1] + ":" + c.args[3]
		c.fill = func(ctx context.Context) error {
			if err := addStream(ctx, addr, 32<<20); err != nil {
				return err
			}
			_, err := loadNATS(ctx, addr, ladenPayload, Load{Ops: 40 << 20 / ladenPayload})
			return err
		}
		c.load = func(ctx context.Context, opt Load) (Stats, error) { return loadNATS(ctx, addr, ladenPayload, opt) }
		return c, nil
	},
}

const ladenPayload = 1024

// addStream has JetStream keep the newest messages of load.*, up to a size.
func addStream(ctx context.Context, addr string, size int) error {
	c, err := dialNATS(ctx, addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	request, err := json.Marshal(map[string]any{
		"name": "LOAD", "subjects": []string{"load.*"}, "retention": "limits", "storage": "memory", "discard": "old",
		"max_bytes": size, "max_msgs": -1, "max_consumers": -1, "num_replicas": 1,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.conn, "SUB reply 1\r\nPUB $JS.API.STREAM.CREATE.LOAD reply %d\r\n%s\r\n", len(request), request); err != nil {
		return err
	}
	if _, err := c.r.ReadString('\n'); err != nil { // MSG reply 1 SIZE
		return err
	}
	answer, err := c.r.ReadString('\n')
	if err == nil && !strings.Contains(answer, `"created"`) {
		err = fmt.Errorf("creating a stream: %.300s", answer)
	}
	return err
}

// ladenEtcd keeps the last writes for members that lag behind, as etcd does, but
// fewer of them than by default: so their number is steady after seconds.
var ladenEtcd = Server{
	Name:   "etcd",
	Recipe: Etcd.Recipe,
	configure: func(dir string, port func() int) (config, error) {
		c, err := Etcd.configure(dir, port)
		if err != nil {
			return config{}, err
		}
		c.args = append(c.args, "--snapshot-count", "500", "--snapshot-catchup-entries", "2000")
		base := strings.TrimSuffix(c.pprof, "/debug/pprof")
		c.fill = func(ctx context.Context) error {
			_, err := loadLadenEtcd(ctx, base, Load{Ops: 5000, Workers: 16})
			return err
		}
		c.load = func(ctx context.Context, opt Load) (Stats, error) { return loadLadenEtcd(ctx, base, opt) }
		return c, nil
	},
}

// loadLadenEtcd puts values of 8 KiB and, as often, gets ten of them at once. The
// history is compacted.
func loadLadenEtcd(ctx context.Context, base string, opt Load) (Stats, error) {
	const keys, compactEvery = 2000, 1000
	encode := func(key int64) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "key/%05d", key)) }
	value := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("v", 8<<10)))
	var revision atomic.Int64
	return drive(ctx, opt, 8, func(int) (func(context.Context, int64) error, func(), error) {
		tr := &http.Transport{}
		c := &http.Client{Transport: tr}
		op := func(ctx context.Context, n int64) error {
			if n%2 == 1 {
				from := n / 2 * 7 % keys
				_, err := call(ctx, c, base+"/v3/kv/range", map[string]any{"key": encode(from), "range_end": encode(from + 10), "limit": "10"})
				return err
			}
			rev, err := call(ctx, c, base+"/v3/kv/put", map[string]any{"key": encode(n / 2 % keys), "value": value})
			if err != nil {
				return err
			}
			if last := revision.Load(); rev > last+compactEvery && revision.CompareAndSwap(last, rev) {
				_, err = call(ctx, c, base+"/v3/kv/compaction", map[string]any{"revision": strconv.FormatInt(rev-compactEvery/2, 10)})
			}
			return err
		}
		return op, tr.CloseIdleConnections, nil
	})
}

// ladenCaddy has many clients that keep their connections and ask seldom, and
// renders a template for those that ask.
var ladenCaddy = Server{
	Name:   "caddy",
	Recipe: Caddy.Recipe,
	configure: func(dir string, port func() int) (config, error) {
		admin, site := local(port()), local(port())
		root := filepath.Join(dir, "site")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return config{}, err
		}
		page := strings.Repeat(`<tr><td>{{.Req.URL.Path}}</td><td>{{len .Req.Host}}</td></tr>`+"\n", 200)
		if err := os.WriteFile(filepath.Join(root, "page.html"), []byte(page), 0o644); err != nil {
			return config{}, err
		}
		type m = map[string]any
		doc, err := json.Marshal(m{
			"admin": m{"listen": admin, "config": m{"persist": false}},
			"apps": m{"http": m{"servers": m{"site": m{
				"listen":          []string{site},
				"automatic_https": m{"disable": true},
				"idle_timeout":    "10m",
				"routes": []m{
					{"match": []m{{"path": []string{"/hello"}}}, "handle": []m{{"handler": "static_response", "body": "hello"}}},
					{"handle": []m{{"handler": "templates"}, {"handler": "file_server", "root": root}}},
				},
			}}}},
		})
		if err != nil {
			return config{}, err
		}
		file := filepath.Join(dir, "caddy.json")
		if err := os.WriteFile(file, doc, 0o644); err != nil {
			return config{}, err
		}
		var idle []net.Conn
		return config{
			args:  []string{"run", "--config", file},
			env:   []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
			ready: httpReady("http://" + site + "/hello"),
			pprof: "http://" + admin + "/debug/pprof",
			fill: func(ctx context.Context) error {
				const clients = 2500
				for range clients {
					conn, err := net.Dial("tcp", site)
					if err != nil {
						return fmt.Errorf("opening %d connections: %w", clients, err)
					}
					idle = append(idle, conn)
					conn.SetDeadline(time.Now().Add(10 * time.Second))
					if _, err := io.WriteString(conn, "GET /hello HTTP/1.1\r\nHost: site\r\n\r\n"); err != nil {
						return err
					}
					if _, err := conn.Read(make([]byte, 4096)); err != nil {
						return err
					}
				}
				return nil
			},
			stop: func() {
				for _, conn := range idle {
					conn.Close()
				}
			},
			load: func(ctx context.Context, opt Load) (Stats, error) {
				return drive(ctx, opt, 4, func(int) (func(context.Context, int64) error, func(), error) {
					tr := &http.Transport{}
					c := &http.Client{Transport: tr}
					op := func(ctx context.Context, n int64) error {
						b, err := get(ctx, c, "http://"+site+"/page.html")
						if err == nil && !strings.HasPrefix(string(b), "<tr><td>/page.html</td>") {
							err = fmt.Errorf("the template was not rendered: %.40q", b)
						}
						return err
					}
					return op, tr.CloseIdleConnections, nil
				})
			},
		}, nil
	},
}

// ladenCoreDNS serves a zone of many hosts.
var ladenCoreDNS = Server{
	Name:   "coredns",
	Recipe: CoreDNS.Recipe,
	configure: func(dir string, port func() int) (config, error) {
		return configureCoreDNS(dir, port, 15000)
	},
}

// ladenPrometheus scrapes targets that this process serves, every second, and
// answers queries.
var ladenPrometheus = Server{
	Name: "prometheus",
	Recipe: Recipe{
		Name:    "prometheus",
		Package: "github.com/prometheus/prometheus/cmd/prometheus",
		Module:  "github.com/prometheus/prometheus",
		Version: "v0.310.0",
		Wrapped: true,
	},
	configure: func(dir string, port func() int) (config, error) {
		const targets, series = 40, 600
		web := local(port())
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return config{}, err
		}
		server := &http.Server{Handler: metrics(series)}
		var served sync.WaitGroup
		served.Go(func() { server.Serve(listener) })

		var conf strings.Builder
		conf.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n")
		for t := range targets {
			fmt.Fprintf(&conf, "- {job_name: job%d, metrics_path: /metrics/%d, static_configs: [{targets: [%q]}]}\n", t, t, listener.Addr())
		}
		file := filepath.Join(dir, "prometheus.yml")
		if err := os.WriteFile(file, []byte(conf.String()), 0o644); err != nil {
			return config{}, err
		}
		return config{
			args: []string{"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", web,
				"--log.level", "warn", "--no-auto-gomemlimit", "--no-auto-gomaxprocs"},
			ready: httpReady("http://" + web + "/-/ready"),
			pprof: "http://" + web + "/debug/pprof",
			stop:  func() { server.Close(); served.Wait() },
			load: func(ctx context.Context, opt Load) (Stats, error) {
				return drive(ctx, opt, 4, func(int) (func(context.Context, int64) error, func(), error) {
					tr := &http.Transport{}
					c := &http.Client{Transport: tr}
					op := func(ctx context.Context, n int64) error {
						b, err := get(ctx, c, fmt.Sprintf("http://%s/api/v1/query?query=sum+by+(shard)(requests_total{job=%%22job%d%%22})", web, n%targets))
						if err == nil && !strings.Contains(string(b), `"status":"success"`) {
							err = fmt.Errorf("the query failed: %.200s", b)
						}
						return err
					}
					return op, tr.CloseIdleConnections, nil
				})
			},
		}, nil
	},
}

// metrics serves pages of counters that grow.
func metrics(series int) http.Handler {
	var scrapes atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := scrapes.Add(1)
		page := []byte("# TYPE requests_total counter\n")
		for s := range series {
			page = fmt.Appendf(page, "requests_total{path=\"/api/v1/resource/%d\",shard=\"%d\",code=\"200\"} %d\n", s, s%16, n*int64(s+1))
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.Write(page)
	})
}
