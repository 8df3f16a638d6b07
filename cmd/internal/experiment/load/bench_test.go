package load

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// senders are what sends to a server in another process.
func senders(b *testing.B, connections int) map[string]sender {
	b.Helper()
	cmd := exec.Command(os.Args[0], serveVerb)
	cmd.SysProcAttr = attributes()
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	web, rpc, _ := strings.Cut(strings.TrimSpace(line), " ")
	all := map[string]sender{}
	for _, protocol := range []string{"http1", "http2"} {
		s, err := newHTTPSender(get(protocol, "http://"+web+"/").HTTP, connections, 1)
		if err != nil {
			b.Fatal(err)
		}
		all[protocol] = s
	}
	s, err := newGRPCSender(b.Context(), &experiment.GRPCLoad{Address: rpc, Method: "/grpc.health.v1.Health/Check"}, connections)
	if err != nil {
		b.Fatal(err)
	}
	all["grpc"] = s
	b.Cleanup(func() {
		for _, s := range all {
			s.close()
		}
	})
	return all
}

// BenchmarkSend is one request after the other: what the generator allocates for each.
func BenchmarkSend(b *testing.B) {
	all := senders(b, 1)
	buf := make([]byte, bodyChunk)
	for _, name := range []string{"http1", "http2", "grpc"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for seq := uint64(0); b.Loop(); seq++ {
				ctx, cancel := context.WithDeadline(b.Context(), time.Now().Add(time.Second))
				if err := all[name].send(ctx, seq, buf); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}

// A finisher is a sender that says when so much was sent.
type finisher struct {
	sender
	left atomic.Int64
	done chan struct{}
}

func (f *finisher) send(ctx context.Context, seq uint64, buf []byte) error {
	err := f.sender.send(ctx, seq, buf)
	if f.left.Add(-1) == 0 {
		close(f.done)
	}
	return err
}

// BenchmarkEngine sends as fast as it can to a trivial server on the same machine:
// more is always due than is sent. A stub answers at once: what the engine costs.
func BenchmarkEngine(b *testing.B) {
	all := senders(b, 16)
	all["stub"] = &stub{take: func(context.Context, uint64) error { return nil }}
	for _, name := range []string{"stub", "http1", "http2", "grpc"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			f := &finisher{sender: all[name], done: make(chan struct{})}
			f.left.Store(int64(b.N))
			l := newLane(f, 16)
			ctx, cancel := context.WithCancel(b.Context())
			e := newEngine(ctx, newSchedule(MaxRate, 1, false, 1), []*lane{l}, time.Minute)
			e.measure()
			before := takeAccount()
			b.ResetTimer()
			e.start()
			<-f.done
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			b.ReportMetric(1e6*(takeAccount().cpu-before.cpu)/float64(b.N), "cpu-µs/req")
			cancel() // what still waits
			e.stop()
		})
	}
}
