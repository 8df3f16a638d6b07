// Unruly is a small HTTP server that misbehaves as the variable MODE says, for the
// tests of experiments. Without it, it does as it should.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: unruly ADDRESS")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Getenv("MODE")); err != nil {
		fmt.Fprintln(os.Stderr, "unruly:", err)
		os.Exit(1)
	}
}

var (
	requests atomic.Int64
	mu       sync.Mutex
	kept     [][]byte
)

func serve(addr, mode string) error {
	// None outlives a test for long, whatever happens.
	time.AfterFunc(3*time.Minute, func() { os.Exit(4) })
	switch mode {
	case "deaf":
		fmt.Println("doing something else")
		select {}
	case "stubborn", "heir":
		signal.Ignore(syscall.SIGTERM)
	}
	if mode == "heir" {
		// The heir has the socket, and does not end.
		select {}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if mode == "leaks" {
		if err := leave(l.(*net.TCPListener)); err != nil {
			return err
		}
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		garbage := make([]byte, 32<<10)
		n := requests.Add(1)
		switch mode {
		case "crashes":
			if n > 100 {
				fmt.Fprintln(os.Stderr, "panic: what was to be expected")
				os.Exit(3)
			}
		case "refuses":
			if r.URL.Path != "/ready" {
				http.Error(w, "not today", http.StatusInternalServerError)
				return
			}
		case "hungry":
			mu.Lock()
			kept = append(kept, []byte(strings.Repeat("x", 1<<20)))
			mu.Unlock()
		case "slow":
			// One at a time: a hundred a second, and not more.
			mu.Lock()
			time.Sleep(10 * time.Millisecond)
			mu.Unlock()
		}
		w.Write(garbage[:64])
	}))
}

// leave starts a child that holds the socket and a pipe of its own, in a session of
// its own, and is not waited for.
func leave(l *net.TCPListener) error {
	socket, err := l.File()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "none")
	cmd.Env = append(os.Environ(), "MODE=heir")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}
