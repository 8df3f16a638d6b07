// Leaky leaks, or does not: with -leak memory 8 MB a second into a map, with -leak
// goroutines 40 a second, and without neither. It has the heap of a small service
// besides, and serves /debug/pprof at the address that it prints.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"time"
)

var (
	leak     = flag.String("leak", "", "what to leak")
	sessions = map[int][]byte{}
	recent   [4000][]byte
	garbage  []byte
)

func main() {
	flag.Parse()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, nil)
	fmt.Printf("ready http://%s\n", l.Addr())
	for n := 0; ; n++ {
		if *leak == "memory" {
			for k := range 50 {
				open(50*n + k)
			}
		}
		if *leak == "goroutines" {
			ask()
		}
		for k := range 50 {
			recent[(50*n+k)%len(recent)] = make([]byte, 4<<10)
		}
		for range 100 {
			garbage = make([]byte, 4<<10)
		}
		time.Sleep(25 * time.Millisecond)
	}
}

func open(id int) { sessions[id] = make([]byte, 4<<10) }

func ask() {
	answer := make(chan int)
	go func() { answer <- 1 }()
}
