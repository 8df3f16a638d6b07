// Agentcost measures what `heapwright serve` costs the machine that it watches, beside
// what others cost who watch the same processes at the same time:
//
//	heapwright          as it comes: each process every second, less often while it idles
//	heapwright-1hz      the same without that (sampling: {adaptive: false})
//	exporters           node_exporter and process-exporter, and a Prometheus that scrapes
//	                    both every second and keeps what it gets
//
// The processes are real Go programs with light work, of several kinds. All observers
// start at the same time, on processes that run already; what is measured begins when
// they have run for -settle. Then a second agent's fleet page is loaded in Chromium, with
// twice the processes.
//
//	agentcost run -heapwright PATH [-processes 100] [-settle 1m] [-for 12m] [-window 30s] [-dir DIR]
//	agentcost bench [-dir DIR]
//	agentcost report [-dir DIR] [-into PAGE]
//
// run and bench keep what they measured in DIR, and report makes tables of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "agentcost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return runCommand(ctx, args[1:], out)
		case "bench":
			return benchCommand(ctx, args[1:], out)
		case "report":
			return reportCommand(args[1:], out)
		}
	}
	return errors.New("usage: agentcost run -heapwright PATH [flags] | agentcost bench [flags] | agentcost report [flags]")
}
