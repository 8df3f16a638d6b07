package ruletest

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Healthy returns servers with which nothing is wrong: idle, busy, busy on a
// contended machine, warming up, filling a cache, and with clients that come and
// go. No rule may say more than "info" about any of them.
func Healthy() map[string]*record.Recording {
	const T = 30
	return map[string]*record.Recording{
		"default": Server{}.Recording(),
		"idle":    Server{Alloc: Const(40 * KiB), UserCores: 0.002}.Recording(),
		"busy_small_heap": Server{
			Live: Const(8 * MiB), Alloc: Const(600 * MiB), UserCores: 1.3, MarkSpeed: 700 * MiB, AssistPart: 0.1,
			Goroutines: Const(700),
		}.Recording(),
		"busy_contended": Server{
			Live: Const(12 * MiB), Alloc: Const(500 * MiB), UserCores: 0.9, MarkSpeed: 700 * MiB, AssistPart: 0.2, Stretch: 3, Procs: 4, PSICPU: 0.8,
			Runnable: 40, Goroutines: Const(500),
			Pause: func(i int) time.Duration {
				if i%9 == 0 {
					return 18 * time.Millisecond
				}
				return 150 * time.Microsecond
			},
			Stopping: func(i int) time.Duration {
				if i%9 == 0 {
					return 15 * time.Millisecond
				}
				return 20 * time.Microsecond
			},
			SchedWait: func(i int) time.Duration { return time.Duration(i%100) * time.Millisecond },
		}.Recording(),
		"warming_up": Server{
			Age: 1, Live: func(t float64) float64 { return 30 * MiB * (1 - math.Exp(-t/8)) },
			Goroutines: func(t float64) float64 { return 400 * (1 - math.Exp(-t/5)) },
		}.Recording(),
		"clients_arrive": Server{
			Live: func(t float64) float64 {
				if t > 10 {
					return 34 * MiB
				}
				return 9 * MiB
			},
			Goroutines: func(t float64) float64 {
				if t > 10 {
					return 2000
				}
				return 30
			},
		}.Recording(),
		"keys_are_written": Server{Live: Ramp(12*MiB, 36*MiB, T), Alloc: Const(200 * MiB)}.Recording(),
	}
}
