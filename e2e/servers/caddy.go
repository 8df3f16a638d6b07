package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Caddy is the Caddy web server, serving a file and a fixed response.
var Caddy = Server{
	Name: "caddy",
	Recipe: Recipe{
		Name:    "caddy",
		Package: "github.com/caddyserver/caddy/v2/cmd/caddy",
		Module:  "github.com/caddyserver/caddy/v2",
		Version: "v2.11.9",
	},
	configure: func(dir string, port func() int) (config, error) {
		admin, site := local(port()), local(port())
		root := filepath.Join(dir, "site")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return config{}, err
		}
		page := strings.Repeat("0123456789abcdef", 1024) // 16 KiB
		if err := os.WriteFile(filepath.Join(root, "page.txt"), []byte(page), 0o644); err != nil {
			return config{}, err
		}
		type m = map[string]any
		doc, err := json.Marshal(m{
			"admin": m{"listen": admin, "config": m{"persist": false}},
			"apps": m{"http": m{"servers": m{"site": m{
				"listen":          []string{site},
				"automatic_https": m{"disable": true},
				"routes": []m{
					{"match": []m{{"path": []string{"/hello"}}}, "handle": []m{{"handler": "static_response", "body": "hello"}}},
					{"handle": []m{{"handler": "file_server", "root": root}}},
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
		return config{
			args:  []string{"run", "--config", file},
			env:   []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
			ready: httpReady("http://" + site + "/hello"),
			pprof: "http://" + admin + "/debug/pprof",
			load: func(ctx context.Context, opt Load) (Stats, error) {
				return loadCaddy(ctx, "http://"+site, len(page), opt)
			},
		}, nil
	},
}

// loadCaddy fetches the file and the fixed response in turn.
func loadCaddy(ctx context.Context, base string, page int, opt Load) (Stats, error) {
	return drive(ctx, opt, 4, func(int) (func(context.Context, int64) error, func(), error) {
		tr := &http.Transport{}
		c := &http.Client{Transport: tr}
		op := func(ctx context.Context, n int64) error {
			url, want := base+"/hello", len("hello")
			if n%2 == 0 {
				url, want = base+"/page.txt", page
			}
			b, err := get(ctx, c, url)
			if err != nil {
				return err
			}
			if len(b) != want {
				return fmt.Errorf("%s: %d bytes, want %d", url, len(b), want)
			}
			return nil
		}
		return op, tr.CloseIdleConnections, nil
	})
}
