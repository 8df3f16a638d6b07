// Command subject does what its arguments say, to be run by the tests.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// flavour differs between builds.
var flavour = "plain"

func main() {
	args := os.Args[1:]
	for len(args) > 0 {
		verb, value, _ := strings.Cut(args[0], "=")
		args = args[1:]
		switch verb {
		case "crash":
			panic("this is how it is: " + value)
		case "exit":
			code, _ := strconv.Atoi(value)
			os.Exit(code)
		case "print":
			fmt.Println(value)
		case "ignore": // SIGTERM
			signal.Ignore(syscall.SIGTERM)
		case "exit-on-term":
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM)
			code, _ := strconv.Atoi(value)
			go func() { <-c; os.Exit(code) }()
		case "fork": // a child that does the rest, and outlives its parent; its own group with value session
			child := exec.Command(os.Args[0], "ignore", "touch=child", "sleep")
			child.Stdout, child.Stderr = os.Stdout, os.Stderr
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: value == "session"}
			if value == "bare" {
				child.Env = []string{"X=1"}
			}
			if err := child.Start(); err != nil {
				panic(err)
			}
			if err := os.WriteFile("child", []byte(strconv.Itoa(child.Process.Pid)), 0o644); err != nil {
				panic(err)
			}
		case "touch":
		case "hog": // megabytes, once it is asked to
			mb, _ := strconv.Atoi(value)
			http.HandleFunc("/hog", func(http.ResponseWriter, *http.Request) { hog(mb) })
		case "hog-now":
			mb, _ := strconv.Atoi(value)
			hog(mb)
		case "burn": // CPU on all threads
			for range make([]struct{}, 4) {
				go func() {
					for {
					}
				}()
			}
		case "show": // answers with a file or variables
			http.HandleFunc("/show", func(w http.ResponseWriter, r *http.Request) {
				if name := r.FormValue("file"); name != "" {
					http.ServeFile(w, r, name)
					return
				}
				fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
			})
		case "status": // of every answer
			code, _ := strconv.Atoi(value)
			http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		case "serve":
			l, err := net.Listen("tcp", "127.0.0.1:"+value)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			http.HandleFunc("/flavour", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, flavour) })
			http.Serve(l, nil)
		case "sleep":
			time.Sleep(time.Hour)
		default:
			panic("no verb " + verb)
		}
	}
}

var kept [][]byte

func hog(mb int) {
	for i := 0; i < mb; i++ {
		b := make([]byte, 1<<20)
		for j := range b {
			b[j] = 1
		}
		kept = append(kept, b)
	}
}
