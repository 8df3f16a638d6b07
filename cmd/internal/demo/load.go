package demo

import (
	"bufio"
	"bytes"
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

// Load is what the server is kept busy with: messages through a stream that
// keeps the latest, and subscribers that get them all. It is far below what the
// server can do; the demo shares two cores with it.
const (
	publishers   = 2
	perTick      = 25 // messages a publisher sends every tick
	tick         = 5 * time.Millisecond
	payloadBytes = 512
	streamKeeps  = 20_000 // messages
)

// Load publishes and subscribes until the context ends. Delivered is how many
// messages came through.
func Load(ctx context.Context, addr string, delivered *atomic.Int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	setup, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer setup.Close()
	if err := setup.createStream(); err != nil {
		return err
	}
	sub, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer sub.Close()
	if _, err := io.WriteString(sub, "SUB demo.> 1\r\n"); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, publishers+1)
	work := func(f func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(); err != nil && ctx.Err() == nil {
				errs <- err
				cancel()
			}
		}()
	}
	work(func() error { return sub.receive(delivered) })
	for i := range publishers {
		c, err := dial(ctx, addr)
		if err != nil {
			cancel()
			wg.Wait()
			return err
		}
		defer c.Close()
		work(func() error { return c.drain() })
		work(func() error { return c.publish(ctx, i) })
	}
	<-ctx.Done()
	wg.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("keeping the server busy: %w", err)
	default:
		return nil
	}
}

// A conn speaks as much of the NATS protocol as the load needs
// (https://docs.nats.io/reference/reference-protocols/nats-protocol).
type conn struct {
	net.Conn
	r  *bufio.Reader
	mu sync.Mutex // of writing: a PONG may come between two messages, not inside one
}

// dial connects; the connection ends with the context.
func dial(ctx context.Context, addr string) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	c := &conn{Conn: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	context.AfterFunc(ctx, func() { nc.Close() })
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.r.ReadString('\n'); err != nil { // INFO {...}
		nc.Close()
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	nc.SetReadDeadline(time.Time{})
	if _, err := io.WriteString(nc, "CONNECT {\"verbose\":false}\r\n"); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	return c, nil
}

// createStream has the server keep the latest messages in memory.
func (c *conn) createStream() error {
	config := fmt.Sprintf(`{"name":"DEMO","subjects":["demo.>"],"storage":"memory","max_msgs":%d,"discard":"old","num_replicas":1}`, streamKeeps)
	if _, err := fmt.Fprintf(c, "SUB reply 1\r\nPUB $JS.API.STREAM.CREATE.DEMO reply %d\r\n%s\r\n", len(config), config); err != nil {
		return fmt.Errorf("creating a stream: %w", err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	defer c.SetReadDeadline(time.Time{})
	payload, err := c.message()
	if err != nil {
		return fmt.Errorf("creating a stream: %w", err)
	}
	if bytes.Contains(payload, []byte(`"error"`)) {
		return fmt.Errorf("creating a stream: the server says %.200q", payload)
	}
	return nil
}

// message returns the payload of the next message.
func (c *conn) message() ([]byte, error) {
	for {
		size, err := c.next()
		if err != nil {
			return nil, err
		}
		if size < 0 {
			continue
		}
		buf := make([]byte, size+2)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			return nil, err
		}
		return buf[:size], nil
	}
}

// maxMessage bounds what is read as one message; the server's own limit is 1 MiB.
const maxMessage = 1 << 20

// next reads a line. The size of the payload that follows is -1 for lines that
// are no message.
func (c *conn) next() (size int, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return -1, err
	}
	switch {
	case bytes.HasPrefix(line, []byte("PING")):
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err := io.WriteString(c, "PONG\r\n")
		return -1, err
	case bytes.HasPrefix(line, []byte("-ERR")):
		return -1, fmt.Errorf("the server says %s", bytes.TrimSpace(line))
	case !bytes.HasPrefix(line, []byte("MSG ")):
		return -1, nil
	}
	line = bytes.TrimSpace(line)
	size, err = strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
	if err != nil || size < 0 || size > maxMessage {
		return -1, fmt.Errorf("the server sent a message of %q bytes", line[bytes.LastIndexByte(line, ' ')+1:])
	}
	return size, nil
}

// receive counts messages until the connection ends.
func (c *conn) receive(n *atomic.Int64) error {
	for {
		size, err := c.next()
		if err != nil {
			return err
		}
		if size < 0 {
			continue
		}
		if _, err := c.r.Discard(size + 2); err != nil {
			return err
		}
		n.Add(1)
	}
}

// drain answers the server's pings.
func (c *conn) drain() error {
	var n atomic.Int64
	return c.receive(&n)
}

// publish sends messages at a steady pace.
func (c *conn) publish(ctx context.Context, publisher int) error {
	payload := strings.Repeat("heapwright ", payloadBytes/11)
	var b bytes.Buffer
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		b.Reset()
		for m := range perTick {
			fmt.Fprintf(&b, "PUB demo.%d.%d %d\r\n%s\r\n", publisher, m, len(payload), payload)
		}
		c.mu.Lock()
		_, err := c.Write(b.Bytes())
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}
