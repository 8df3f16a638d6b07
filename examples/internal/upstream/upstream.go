// Package upstream is a process beside the example that has the fault: the server
// that it is a client of, or its neighbour in a container. It is the same program,
// started again.
package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// What an upstream does.
const (
	Answers = "answers" // an HTTP server
	Silent  = "silent"  // an HTTP server that takes requests and never answers
	Grows   = "grows"   // no server: takes 8 MiB more of memory each second
)

// role is the variable that tells the second process what it is.
const role = "HEAPWRIGHT_EXAMPLE_UPSTREAM"

// lifeline is the standard input of the second process, which ends when that does:
// with this process, or when the collector finds the pipe.
var lifeline io.WriteCloser

// Start starts an upstream and returns its address, as in "http://127.0.0.1:4711".
// It ends with this process. main has to call it first.
func Start(what string) string {
	if is := os.Getenv(role); is != "" {
		be(is)
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		fail(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"="+what)
	if lifeline, err = cmd.StdinPipe(); err != nil {
		fail(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		fail(err)
	}
	if err := cmd.Start(); err != nil {
		fail(err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		fail(err)
	}
	return "http://" + strings.TrimSpace(address)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "starting an upstream:", err)
	os.Exit(1)
}

// be is the second process.
func be(what string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	fmt.Println(l.Addr())
	switch what {
	case Grows:
		go grow()
	default:
		page := strings.Repeat("a line of text\n", 4<<10)
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if what == Silent {
				<-r.Context().Done()
				return
			}
			io.WriteString(w, page)
		}))
	}
	io.Copy(io.Discard, os.Stdin)
}

var taken [][]byte

func grow() {
	for range time.Tick(125 * time.Millisecond) {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		taken = append(taken, block)
	}
}
