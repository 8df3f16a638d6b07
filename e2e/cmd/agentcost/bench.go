package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// benchmarks are those whose numbers the page has.
var benchmarks = []struct{ pkg, pattern, time string }{
	{"store", "^BenchmarkAppend$", "1s"},
	{"store", "^BenchmarkBytesPerSample$", "1x"},
	{"store", "^BenchmarkWeek$", "1x"},
	{"store", "^BenchmarkQuery24h20Series$", "1s"},
	{"history", ".", "1s"},
	{"web/api", "^Benchmark(Processes|Series|Flame)$", "1s"},
}

const benchFile = "bench.txt"

// benchCommand runs the benchmarks of the packages that keep and answer.
func benchCommand(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&dir, "dir", dir, "where results are kept")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := command("git", "rev-parse", "--show-toplevel")
	var text bytes.Buffer
	fmt.Fprintf(&text, "# %s, %s, commit %s, %s, load average before %s\n", machine(), command("uname", "-sr"),
		command("git", "rev-parse", "--short", "HEAD"), time.Now().UTC().Format("2006-01-02 15:04 UTC"), loadAverage())
	var failed []error
	for _, b := range benchmarks {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchtime", b.time, "-benchmem", "./internal/"+b.pkg)
		cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(root, "cmd"), io.MultiWriter(&text, out), os.Stderr
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("the benchmarks of %s: %w", b.pkg, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, benchFile), text.Bytes(), 0o644)
}

// A Bench is a line of a benchmark.
type Bench struct {
	Name   string
	Values []string // each with its unit
}

// parseBench reads what benchmarks print. Lines that are something else it leaves out.
func parseBench(text string) (head string, out []Bench) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "# "); ok && head == "" {
			head = h
		}
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 { // GOMAXPROCS
			name = name[:at]
		}
		b := Bench{Name: strings.ReplaceAll(name, "_", " ")}
		for i := 2; i+1 < len(f); i += 2 {
			b.Values = append(b.Values, f[i]+" "+f[i+1])
		}
		out = append(out, b)
	}
	return head, out
}
