// Traced is what the tests of diagnose --trace look at: it serves its profiles, and
// the snapshot of a flight recorder, and has the illness that it is told to have.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"runtime/trace"
	"time"
)

var (
	sink []byte
	sum  uint64
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 5 * time.Second})
	http.HandleFunc("/debug/flight", func(w http.ResponseWriter, r *http.Request) { recorder.WriteTo(w) })
	go http.Serve(l, nil)
	illness := map[string]func(){"spin": spin, "forced": forced, "quiet": func() {}, "flight": func() { recorder.Start() }}[os.Args[1]]
	go illness()
	fmt.Println("ready http://" + l.Addr().String())
	for {
		for range 40 {
			sink = make([]byte, 16<<10)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// spin computes without a place to stop, if it is run with asyncpreemptoff=1.
func spin() {
	for {
		sum += compute(30 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
}

//go:noinline
func compute(d time.Duration) (s uint64) {
	for range uint64(d) {
		s = s*31 + 7
	}
	return s
}

// forced stops the world for numbers that could be had without.
func forced() {
	var m runtime.MemStats
	for {
		runtime.ReadMemStats(&m)
		time.Sleep(10 * time.Millisecond)
	}
}
