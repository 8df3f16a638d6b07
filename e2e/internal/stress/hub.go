package stress

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Hub starts a NATS server that takes leaf nodes, for another to depend on, and returns
// where.
func Hub(ctx context.Context, bin, dir string) (leaf string, end func(), err error) {
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	conf := filepath.Join(dir, "hub.conf")
	text := fmt.Sprintf("server_name: hub\nhost: 127.0.0.1\nport: %d\nleafnodes { host: 127.0.0.1, port: %d }\n", ports[0], ports[1])
	if err := os.WriteFile(conf, []byte(text), 0o666); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(bin, "-c", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting a hub: %w", err)
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	leaf = fmt.Sprintf("127.0.0.1:%d", ports[1])
	for range 100 {
		c, err := net.Dial("tcp", leaf)
		if err == nil {
			c.Close()
			return leaf, end, nil
		}
		select {
		case <-ctx.Done():
			end()
			return "", nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	end()
	return "", nil, fmt.Errorf("the hub at %s does not answer", leaf)
}
