package sli_test

import (
	"fmt"
	"log"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
)

// Look every second, and say every ten seconds what the last minute was like.
func Example() {
	source, err := sli.NewSource(sli.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	ring := sli.NewRing(128, 5*time.Minute)
	seconds := 0
	for range time.Tick(time.Second) {
		ring.Read(source)
		if seconds++; seconds%10 != 0 {
			continue
		}
		reading, ok := ring.Window(time.Minute)
		if !ok {
			continue
		}
		if p99, ok := reading.Get(sli.PauseP99); ok { // there were pauses
			fmt.Printf("p99 of %d cycles' pauses: %.6f s\n", reading.Cycles, p99)
		}
		if used, ok := reading.Get(sli.MemoryRatio); ok { // there is a limit
			fmt.Printf("%.0f%% of the memory limit is needed\n", used*100)
		}
	}
}
