package servers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NATS is the NATS messaging server.
var NATS = Server{
	Name: "nats",
	Recipe: Recipe{
		Name:    "nats-server",
		Package: "github.com/nats-io/nats-server/v2",
		Module:  "github.com/nats-io/nats-server/v2",
		Version: "v2.15.2",
	},
	configure: func(dir string, port func() int) (config, error) {
		client, monitor, prof := port(), port(), port()
		return config{
			args: []string{"--addr", "127.0.0.1", "--port", fmt.Sprint(client), "--http_port", fmt.Sprint(monitor),
				"--profile", fmt.Sprint(prof), "--jetstream", "--store_dir", dir},
			ready: httpReady("http://" + local(monitor) + "/healthz"),
			pprof: "http://" + local(prof) + "/debug/pprof",
			load:  func(ctx context.Context, opt Load) (Stats, error) { return loadNATS(ctx, local(client), 256, opt) },
		}, nil
	},
}

// natsBatch is how many messages a publisher sends before it waits for the
// server to have taken them.
const natsBatch = 32

// loadNATS publishes messages of a size on a few subjects and subscribes to all
// of them. An operation is a message taken by the server.
func loadNATS(ctx context.Context, addr string, size int, opt Load) (Stats, error) {
	const subjects = 4
	var received atomic.Int64
	var subs sync.WaitGroup
	defer subs.Wait() // runs after the connections below are closed
	for s := range subjects {
		c, err := dialNATS(ctx, addr)
		if err != nil {
			return Stats{}, err
		}
		subs.Add(1)
		go func() {
			defer subs.Done()
			c.receive(&received)
		}()
		defer c.conn.Close()
		if _, err := fmt.Fprintf(c.conn, "SUB load.%d 1\r\n", s); err != nil {
			return Stats{}, err
		}
	}

	batches := Load{Rate: opt.Rate / natsBatch, Ops: (opt.Ops + natsBatch - 1) / natsBatch, Workers: opt.Workers}
	done := opt.Done
	if done == nil {
		done = new(atomic.Int64)
	}
	payload := strings.Repeat("x", size)
	st, err := drive(ctx, batches, 2, func(w int) (func(context.Context, int64) error, func(), error) {
		c, err := dialNATS(ctx, addr)
		if err != nil {
			return nil, nil, err
		}
		stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now()) })
		var msgs strings.Builder
		op := func(ctx context.Context, n int64) error {
			msgs.Reset()
			for m := range natsBatch {
				fmt.Fprintf(&msgs, "PUB load.%d %d\r\n%s\r\n", m%subjects, len(payload), payload)
			}
			msgs.WriteString("PING\r\n")
			if _, err := io.WriteString(c.conn, msgs.String()); err != nil {
				return err
			}
			err := c.pong()
			if err == nil {
				done.Add(natsBatch)
			}
			return err
		}
		return op, func() { stop(); c.conn.Close() }, nil
	})
	st.Ops *= natsBatch
	st.LeftOut *= natsBatch
	if err == nil && st.Ops > 0 && received.Load() == 0 {
		err = fmt.Errorf("%d messages published, none delivered", st.Ops)
	}
	return st, err
}

// natsConn speaks as much of the NATS client protocol as the load needs.
type natsConn struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialNATS(ctx context.Context, addr string) (*natsConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &natsConn{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.r.ReadString('\n'); err != nil { // INFO {...}
		conn.Close()
		return nil, err
	}
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false}\r\nPING\r\n"); err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.pong(); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return c, nil
}

// pong reads until the server's PONG, answering its own PINGs.
func (c *natsConn) pong() error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		switch line = strings.TrimSpace(line); {
		case line == "PONG":
			return nil
		case line == "PING":
			if _, err := io.WriteString(c.conn, "PONG\r\n"); err != nil {
				return err
			}
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("server says %s", line)
		}
	}
}

// receive counts messages until the connection ends.
func (c *natsConn) receive(n *atomic.Int64) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if string(line) == "PING\r\n" {
			if _, err := io.WriteString(c.conn, "PONG\r\n"); err != nil {
				return
			}
			continue
		}
		f := strings.Fields(string(line)) // MSG subject sid size
		if len(f) < 4 || f[0] != "MSG" {
			continue
		}
		size, err := strconv.Atoi(f[len(f)-1])
		if err != nil {
			return
		}
		if _, err := c.r.Discard(size + 2); err != nil {
			return
		}
		n.Add(1)
	}
}
