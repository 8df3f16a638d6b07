// Command target is a Go program for the tests to look at: it makes garbage until it
// is told to end.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	_ "runtime/pprof" // keeps memory profiling in, as most services have it
	"strconv"
	"syscall"
	"time"
)

func main() { target() }

func target() {
	pidFile := flag.String("pid", "", "write the PID to this file when ready")
	// So long that no script takes as much on the busiest machine: it ends the target.
	lasts := flag.Duration("for", 20*time.Minute, "end after this long")
	until := flag.String("until", "", "end when this file is there")
	status := flag.Int("exit", 0, "end with this status")
	keep := flag.Int("keep", 0, "keep so many MiB alive")
	trap := flag.Bool("trap", false, "on SIGTERM, SIGINT or SIGUSR1 say so, and end with 40 and its number")
	flag.Parse()
	fmt.Println("target: stdout")
	fmt.Fprintln(os.Stderr, "target: stderr")
	var trapped chan os.Signal
	if *trap {
		trapped = make(chan os.Signal, 1)
		signal.Notify(trapped, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	}
	if *pidFile != "" {
		tmp := *pidFile + ".tmp"
		if err := os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			panic(err)
		}
		if err := os.Rename(tmp, *pidFile); err != nil {
			panic(err)
		}
	}
	for range *keep << 4 {
		kept = append(kept, make([]byte, 64<<10))
	}
	end := time.After(*lasts)
	work := time.NewTicker(time.Millisecond)
	for {
		select {
		case <-work.C:
			garbage = make([]byte, 64<<10)
			if _, err := os.Stat(*until); *until != "" && err == nil {
				os.Exit(*status)
			}
		case sig := <-trapped:
			fmt.Println("target: got", sig)
			os.Exit(40 + int(sig.(syscall.Signal)))
		case <-end:
			os.Exit(*status)
		}
	}
}

var (
	garbage []byte
	kept    [][]byte
)
