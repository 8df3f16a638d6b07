package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// serveVerb has the test binary be a server, so that what it allocates and takes is
// not the generator's.
const serveVerb = "serve-for-benchmark"

// hangVerb has it start loads and never end by itself.
const hangVerb = "load-and-hang"

// TestMain is the generator when a test has started it.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		var err error
		switch os.Args[1] {
		case Verb:
			err = Serve(context.Background(), os.Stdin, os.Stdout)
		case serveVerb:
			err = serveForBenchmark()
		case hangVerb:
			err = loadAndHang()
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveForBenchmark serves HTTP, of both versions, and gRPC, until its input ends. It
// prints both addresses.
func serveForBenchmark() error {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }),
		Protocols: new(http.Protocols),
	}
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetUnencryptedHTTP2(true)
	g := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	go h.Serve(web)
	go g.Serve(rpc)
	fmt.Println(web.Addr(), rpc.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// loadAndHang prints the processes that make its loads.
func loadAndHang() error {
	g, err := Start(context.Background(), config(1, get("http1", "http://127.0.0.1:1/")))
	if err != nil {
		return err
	}
	c := config(1, Target{Command: []string{"sleep", "1000"}})
	c.Seconds = 1
	h, err := Start(context.Background(), c)
	if err != nil {
		return err
	}
	fmt.Println(g.by.(*process).cmd.Process.Pid, h.by.(*commands).runs[0].cmd.Process.Pid)
	select {}
}

// TestDocumented holds docs/formats/load.md against the code.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../../docs/formats/load.md")
	if err != nil {
		t.Fatal(err)
	}
	words := []string{commandSchema, "{rate}", "{seconds}", "{seed}", "{phase}", phaseWarmup, phaseMeasure, "32 MiB", "2,000,000", fmt.Sprint(warmupSeconds)}
	line := reflect.TypeFor[commandLine]()
	for i := range line.NumField() {
		words = append(words, "`"+line.Field(i).Tag.Get("json")+"`")
	}
	for _, w := range words {
		if !strings.Contains(string(b), w) {
			t.Errorf("docs/formats/load.md does not have %s", w)
		}
	}
	if maxCommandOutput != 32<<20 || maxLatencies != 2_000_000 {
		t.Error("the bounds are others")
	}
}
