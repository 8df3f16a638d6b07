package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Alertmanager is Prometheus' Alertmanager, with no receiver that does anything. Its
// address is that of its profiles without the path.
var Alertmanager = Server{
	Name: "alertmanager",
	Recipe: Recipe{
		Name:    "alertmanager",
		Package: "github.com/prometheus/alertmanager/cmd/alertmanager",
		Module:  "github.com/prometheus/alertmanager",
		Version: "v0.28.1",
	},
	configure: func(dir string, port func() int) (config, error) {
		addr := local(port())
		conf := filepath.Join(dir, "alertmanager.yml")
		text := "route:\n  receiver: nobody\n  group_by: ['...']\nreceivers:\n- name: nobody\n"
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			return config{}, err
		}
		return config{
			args: []string{
				"--config.file=" + conf, "--storage.path=" + filepath.Join(dir, "alertmanager"),
				"--web.listen-address=" + addr, "--cluster.listen-address=",
			},
			ready: httpReady("http://" + addr + "/-/ready"),
			pprof: fmt.Sprintf("http://%s/debug/pprof", addr),
		}, nil
	},
}

// URL is where the server answers, for those whose profiles are on the same port.
func (i *Instance) URL() string { return strings.TrimSuffix(i.Pprof, "/debug/pprof") }
