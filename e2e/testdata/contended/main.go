// Contended waits for locks and channels for a second, with its block and mutex
// profiles switched on, and then rests. It serves its own profiles.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	work := make(chan int)
	var workers sync.WaitGroup
	for range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for n := range work {
				hold(&mu, n)
			}
		}()
	}
	for n := range 400 {
		work <- n
	}
	close(work)
	workers.Wait()
	fmt.Printf("ready http://%s/debug/pprof\n", l.Addr())
	http.Serve(l, nil)
}

func hold(mu *sync.Mutex, n int) {
	mu.Lock()
	defer mu.Unlock()
	if n%4 == 0 {
		time.Sleep(time.Millisecond)
	}
}
