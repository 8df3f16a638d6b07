package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFindSource(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := FindSource(deep); got != "" {
		t.Errorf("found %q where there is nothing", got)
	}
	write(root, "module "+module+"\n\ngo 1.26.0\n")
	write(deep, "module "+module+"/cmd\n")
	if got := FindSource(deep); got != root {
		t.Errorf("found %q, want %q: a module inside of ours is not it", got, root)
	}
}

func TestReadPorts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.ports")
	for _, tc := range []struct {
		name, text, want string
	}{
		{"real", `{"nats":["nats://127.0.0.1:41234"],"monitoring":[]}`, "127.0.0.1:41234"},
		{"half written", `{"nats":["nats://127.0`, ""},
		{"nowhere", `{"nats":[]}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := readPorts(file)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Builder{Cache: t.TempDir(), Work: t.TempDir()}.NATS(t.Context())
	var missing *MissingGoError
	if !errors.As(err, &missing) || missing.Hint() == "" {
		t.Errorf("got %v, want that there is no go command", err)
	}
}

func TestStartAndStop(t *testing.T) {
	p, err := start("/bin/sh", []string{"-c", "echo hello; exec sleep 60"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.waitFor(t.Context(), "sh", func() bool { return p.out.last() == "hello" }); err != nil {
		t.Error(err)
	}
	p.Stop()
	if !errors.Is(p.cmd.Process.Signal(os.Interrupt), os.ErrProcessDone) {
		t.Error("the process still runs after Stop")
	}
}

func TestProcessThatEndsAtOnce(t *testing.T) {
	p, err := start("/bin/sh", []string{"-c", "echo no port left; exit 1"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = p.waitFor(t.Context(), "sh", func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no port left") {
		t.Errorf("got %v, want what it said last", err)
	}
}

func TestTailBuffer(t *testing.T) {
	var b tailBuffer
	for i := range 10000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	if got := b.last(); got != "line 9999" || len(b.b) > 4096 {
		t.Errorf("last line %q of %d bytes", got, len(b.b))
	}
}

// natsServer is a server that speaks the protocol just well enough, and sends
// every message to every subscriber.
func natsServer(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	subs := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c, subs, answer)
		}
	}()
	return l.Addr().String()
}

func serve(c net.Conn, subs chan net.Conn, answer string) {
	defer c.Close()
	io.WriteString(c, "INFO {\"server_id\":\"x\"}\r\nPING\r\n")
	r := bufio.NewReader(c)
	var sub net.Conn
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "SUB":
			if f[1] == "demo.>" {
				subs <- c
			}
		case "PUB":
			size, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				return
			}
			payload := make([]byte, size+2)
			if _, err := io.ReadFull(r, payload); err != nil {
				return
			}
			if strings.HasPrefix(f[1], "$JS") {
				fmt.Fprintf(c, "MSG reply 1 %d\r\n%s\r\n", len(answer), answer)
				continue
			}
			if sub == nil {
				sub = <-subs
				subs <- sub
			}
			fmt.Fprintf(sub, "MSG %s 1 %d\r\n%s", f[1], size, payload)
		}
	}
}

func TestLoad(t *testing.T) {
	addr := natsServer(t, `{"type":"created"}`)
	ctx, cancel := context.WithCancel(t.Context())
	var delivered atomic.Int64
	done := make(chan error, 1)
	go func() { done <- Load(ctx, addr, &delivered) }()
	for delivered.Load() < 100 {
		select {
		case err := <-done:
			t.Fatalf("the load ended after %d messages: %v", delivered.Load(), err)
		case <-t.Context().Done():
			t.Fatal("no messages")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestLoadRefused(t *testing.T) {
	addr := natsServer(t, `{"error":{"description":"no JetStream"}}`)
	var delivered atomic.Int64
	if err := Load(t.Context(), addr, &delivered); err == nil || !strings.Contains(err.Error(), "no JetStream") {
		t.Errorf("got %v, want what the server said", err)
	}
}

func TestOddServer(t *testing.T) {
	for _, tc := range []struct{ name, line string }{
		{"negative size", "MSG a 1 -5\r\n"},
		{"huge size", "MSG a 1 99999999999\r\n"},
		{"no number", "MSG a 1 x\r\n"},
		{"error", "-ERR 'no'\r\n"},
		{"endless line", strings.Repeat("x", 128<<10)},
		{"nothing", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &conn{r: bufio.NewReaderSize(strings.NewReader(tc.line), 64<<10)}
			if size, err := c.next(); err == nil {
				t.Errorf("took it for a message of %d bytes", size)
			}
		})
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("PING\r\nMSG a 1 3\r\nabc\r\n")
	f.Add("+OK\r\nINFO {}\r\nMSG a 1 reply 0\r\n\r\n")
	f.Add("-ERR 'x'\r\n")
	f.Add("MSG a 1 1048577\r\n")
	f.Add("MSG \r\n")
	f.Fuzz(func(t *testing.T, in string) {
		local, remote := net.Pipe()
		defer local.Close()
		go io.Copy(io.Discard, remote) // the answers to pings
		defer remote.Close()
		c := &conn{Conn: local, r: bufio.NewReaderSize(strings.NewReader(in), 64<<10)}
		for {
			b, err := c.message()
			if err != nil {
				return
			}
			if !strings.Contains(in, string(b)) {
				t.Fatalf("a payload of %q, which is not in the input", b)
			}
		}
	})
}
