// Natsload puts load on a NATS server for `heapwright compare`: an example of a
// generator of one's own, for what is neither HTTP nor gRPC. It publishes messages at
// random instants (Poisson) that do not depend on when earlier ones arrived,
// subscribes to them, and prints how long each took from when it was due: one line of
// JSON, as docs/formats/load.md says. In an experiment:
//
//	load:
//	  command: [./natsload, -addr, "127.0.0.1:{port}", -rate, "{rate}", -seconds, "{seconds}", -seed, "{seed}", -phase, "{phase}"]
//
// With -stream the warm-up makes a JetStream stream in the server's memory and fills
// it. It keeps the newest messages, so that the server has something alive.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "natsload:", err)
		os.Exit(1)
	}
}

// A report is the line that heapwright reads.
type report struct {
	Schema     string    `json:"schema"`
	Requests   int       `json:"requests"` // that were due
	Errors     int       `json:"errors"`   // of them that did not arrive
	Seconds    float64   `json:"seconds"`
	Latencies  []float64 `json:"latencies_us"`
	SlipP50    float64   `json:"slip_p50_seconds"` // how late messages were sent
	SlipP99    float64   `json:"slip_p99_seconds"`
	SlipMax    float64   `json:"slip_max_seconds"`
	FirstError string    `json:"first_error,omitempty"`
}

// most bounds what one run keeps in memory.
const most = 2_000_000

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("natsload", flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:4222", "the server")
	rate := fs.Float64("rate", 1000, "messages a second")
	seconds := fs.Float64("seconds", 5, "how long")
	seed := fs.Uint64("seed", 1, "of the instants at which messages are due")
	size := fs.Int("size", 512, "bytes of a message")
	stream := fs.Int("stream", 0, "keep so many MiB of messages in a stream in the server's memory, from the warm-up on")
	phase := fs.String("phase", "warmup", "warmup or measure")
	timeout := fs.Duration("timeout", 2*time.Second, "when a message is given up on")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if !(*rate > 0 && *rate <= 1e6) || !(*seconds > 0 && *seconds <= 24*3600) || *size < 32 || *size > 1<<20 || *stream < 0 || *stream > 1<<14 {
		return errors.New("want -rate up to 1e6, -seconds up to a day, -size from 32 to 1 MiB, -stream up to 16384")
	}
	if *stream > 0 && *phase == "warmup" {
		if err := addStream(*addr, *stream<<20, *size); err != nil {
			return fmt.Errorf("making a stream: %w", err)
		}
	}
	sub, err := dial(*addr)
	if err != nil {
		return err
	}
	defer sub.Close()
	if _, err := io.WriteString(sub, "SUB load.> 1\r\nPING\r\n"); err != nil {
		return err
	}
	if err := sub.pong(); err != nil {
		return err
	}
	pub, err := dial(*addr)
	if err != nil {
		return err
	}
	defer pub.Close()

	start := time.Now()
	got := &arrivals{}
	var receiving sync.WaitGroup
	receiving.Add(1)
	go func() {
		defer receiving.Done()
		got.receive(sub, start)
	}()
	length := time.Duration(*seconds * float64(time.Second))
	r := report{Schema: "heapwright.load/1", Seconds: *seconds}
	slips, err := publish(pub, start, length, *rate, *seed, *size, *timeout)
	if err != nil {
		r.FirstError = err.Error()
	}
	r.Requests = len(slips)
	for deadline := time.Now().Add(*timeout); got.count() < r.Requests && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	sub.Close()
	receiving.Wait()

	r.Latencies = got.latencies[:min(len(got.latencies), r.Requests)]
	if r.Errors = r.Requests - len(r.Latencies); r.Errors > 0 && r.FirstError == "" {
		r.FirstError = "messages did not arrive"
	}
	if n := len(slips); n > 0 {
		slices.Sort(slips)
		r.SlipP50, r.SlipP99, r.SlipMax = slips[n/2].Seconds(), slips[n*99/100].Seconds(), slips[n-1].Seconds()
	}
	return json.NewEncoder(out).Encode(r)
}

// publish sends until the time is over, and returns by how much each message was
// late. What is due while the server does not take anything is sent when it does: it
// counts from when it was due.
func publish(c *conn, start time.Time, length time.Duration, rate float64, seed uint64, size int, timeout time.Duration) (slips []time.Duration, err error) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	c.SetDeadline(start.Add(length + timeout))
	w := bufio.NewWriterSize(c, 64<<10)
	padding := strings.Repeat("x", size)
	at := 0.0
	for len(slips) < most {
		at += rnd.ExpFloat64() / rate
		due := time.Duration(at * float64(time.Second))
		if due >= length {
			break
		}
		if wait := due - time.Since(start); wait > 0 {
			if err := w.Flush(); err != nil {
				return slips, err
			}
			time.Sleep(due - time.Since(start))
		}
		slips = append(slips, max(time.Since(start)-due, 0))
		stamp := strconv.FormatInt(int64(due), 10) + " "
		if _, err := fmt.Fprintf(w, "PUB load.%d %d\r\n%s%s\r\n", len(slips)%16, size, stamp, padding[len(stamp):]); err != nil {
			return slips, err
		}
	}
	return slips, w.Flush()
}

// arrivals are the messages that came.
type arrivals struct {
	mu        sync.Mutex
	latencies []float64 // µs
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.latencies)
}

// receive takes messages until the connection is closed.
func (a *arrivals) receive(c *conn, start time.Time) {
	var message []byte
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "PING") {
			io.WriteString(c, "PONG\r\n")
			continue
		}
		f := strings.Fields(line) // MSG subject sid size
		if len(f) < 4 || f[0] != "MSG" {
			continue
		}
		size, err := strconv.Atoi(f[len(f)-1])
		if err != nil || size < 0 || size > 64<<20 {
			return
		}
		message = append(message[:0], make([]byte, size+2)...)
		if _, err := io.ReadFull(c.r, message); err != nil {
			return
		}
		now := time.Since(start)
		stamp, _, _ := strings.Cut(string(message[:min(size, 24)]), " ")
		// What another run published has no place here.
		due, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || time.Duration(due) > now {
			continue
		}
		a.mu.Lock()
		if len(a.latencies) < most {
			a.latencies = append(a.latencies, float64(now-time.Duration(due))/float64(time.Microsecond))
		}
		a.mu.Unlock()
	}
}

// A conn speaks as much of NATS' protocol as is needed here.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	n, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &conn{n, bufio.NewReaderSize(n, 64<<10)}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = io.WriteString(c, "CONNECT {\"verbose\":false}\r\nPING\r\n")
	if err == nil {
		err = c.pong()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("greeting the server: %w", err)
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

// pong reads until the server has taken everything before.
func (c *conn) pong() error {
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "PONG"):
			return nil
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("the server says %s", strings.TrimSpace(line))
		}
	}
}

// addStream has the server keep the newest messages in memory, up to a size, and
// publishes as many.
func addStream(addr string, size, message int) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	request, err := json.Marshal(map[string]any{
		"name": "LOAD", "subjects": []string{"load.>"}, "retention": "limits", "storage": "memory", "discard": "old",
		"max_bytes": size, "max_msgs": -1, "max_consumers": -1, "num_replicas": 1,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "SUB reply 1\r\nPUB $JS.API.STREAM.CREATE.LOAD reply %d\r\n%s\r\n", len(request), request); err != nil {
		return err
	}
	if err := c.created(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(c, 64<<10)
	text := strings.Repeat("x", message)
	for n := range size / message {
		if _, err := fmt.Fprintf(w, "PUB load.%d %d\r\n%s\r\n", n%16, message, text); err != nil {
			return err
		}
	}
	w.WriteString("PING\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	return c.pong()
}

// created reads the answer to a request for a stream.
func (c *conn) created() error {
	for range 16 {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "-ERR"), strings.Contains(line, `"error"`):
			return fmt.Errorf("the server says %.300s", strings.TrimSpace(line))
		case strings.Contains(line, `"created"`):
			return nil
		}
	}
	return errors.New("the server does not answer")
}
