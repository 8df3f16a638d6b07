// Subject is a program whose memory takes one of several courses, for forecasts of the
// moment in which the kernel kills it, and of those that it never kills:
//
//	subject -course linear -rate 2 -base 20 -garbage 30 -for 3m
//
// All sizes are MiB and all rates MiB a second. It prints "ready" and its course begins.
package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const mib = 1 << 20

// A course is how many MiB are kept at a time, in seconds from the start.
type course func(t float64) float64

var (
	held    [][]byte // what is kept, in pieces of pieceSize
	stacks  int      // goroutines with deep stacks
	outside [][]byte // mapped, not the heap's
	garbage []byte
)

const pieceSize = 16 << 10

func main() {
	name := flag.String("course", "level", "what memory does")
	rate := flag.Float64("rate", 1, "of growth")
	base := flag.Float64("base", 20, "kept from the start")
	top := flag.Float64("top", 100, "where growth ends, of courses that end")
	waste := flag.Float64("garbage", 20, "allocated and dropped")
	lasts := flag.Duration("for", 2*time.Minute, "end after this time")
	seed := flag.Uint64("seed", 1, "of what is random")
	flag.Parse()
	rnd := rand.New(rand.NewPCG(*seed, 1))
	wave := 0.0
	courses := map[string]course{
		"level":      func(float64) float64 { return *base },
		"linear":     func(t float64) float64 { return *base + *rate*t },
		"goroutines": func(t float64) float64 { return *base },
		"outside":    func(t float64) float64 { return *base },
		"late":       func(t float64) float64 { return *base + *rate*max(0, t-40) },
		"faster":     func(t float64) float64 { return *base + *rate*(t*0.3+t*t/120) },
		"steps":      func(t float64) float64 { return *base + *rate*8*math.Floor(t/8) },
		"warm leak":  func(t float64) float64 { return *base + 0.5**base*(1-math.Exp(-t/8)) + *rate*t },
		"warm":       func(t float64) float64 { return *base + (*top-*base)*(1-math.Exp(-t/15)) },
		"fills":      func(t float64) float64 { return min(*base+*rate*t, *top) },
		"sawtooth":   func(t float64) float64 { return *base + (*top-*base)*math.Mod(t, 25)/25 },
		"bursts": func(t float64) float64 {
			if math.Mod(t, 30) > 15 {
				return *top
			}
			return *base
		},
		"wanders": func(float64) float64 {
			wave = 0.995*wave + 0.01*rnd.NormFloat64()*(*top-*base)
			return min(max((*base+*top)/2+wave, *base), *top)
		},
		"uneven": func(t float64) float64 { // a leak that goes with a load that varies
			return *base + *rate*(t+8*math.Sin(t/9)+4*math.Sin(t/3.7))
		},
	}
	kept, ok := courses[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "subject: there is no course %q\n", *name)
		os.Exit(2)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	keep(kept(0))
	fmt.Println("ready")
	start := time.Now()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	wasted := 0.0
	for time.Since(start) < *lasts {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		t := time.Since(start).Seconds()
		keep(kept(t))
		switch *name {
		case "goroutines":
			for float64(stacks)*64/1024 < *rate*t { // 64 KiB of stack each
				stacks++
				go wait(0)
			}
		case "outside":
			for float64(len(outside)) < *rate*t {
				b, err := syscall.Mmap(-1, 0, mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
				if err != nil {
					fmt.Fprintln(os.Stderr, "subject:", err)
					os.Exit(1)
				}
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				outside = append(outside, b)
			}
		}
		for ; wasted < *waste*t; wasted += 8.0 / 1024 {
			garbage = make([]byte, 8<<10)
		}
	}
	fmt.Println("ended with pieces:", len(held), len(garbage))
}

// keep brings what is held to a number of MiB.
func keep(size float64) {
	n := int(size * mib / pieceSize)
	for len(held) > n {
		held[len(held)-1] = nil
		held = held[:len(held)-1]
	}
	for len(held) < n {
		b := make([]byte, pieceSize)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
}

// wait parks a goroutine below about 40 KiB of frames.
func wait(depth int) byte {
	var frame [1 << 10]byte
	frame[depth%len(frame)] = 1
	if depth == 40 {
		select {}
	}
	return wait(depth+1) + frame[0]
}
