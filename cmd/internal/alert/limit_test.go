package alert

import (
	"strings"
	"testing"
	"time"
)

// A deadline that swings around an hour is one alert, which ends when there has been none
// within two hours for ten minutes: 30 days are what is reported of none.
func TestLimitSoon(t *testing.T) {
	e := New(Defaults())
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	started := now
	var said []Alert
	during := func(d time.Duration, value func(i int) float64) {
		for i := range int(d / (5 * time.Second)) {
			now = now.Add(5 * time.Second)
			said = append(said, e.Step(now, []Observation{{Process: "p", Time: now, Up: true, Values: map[Signal]float64{TimeToLimitSeconds: value(i), AgeSeconds: now.Sub(started).Seconds()}}})...)
		}
	}
	const none = 30 * 24 * 3600
	during(9*time.Minute, func(i int) float64 { return 3000 - float64(5*i) }) // its first rise
	during(5*time.Minute, func(int) float64 { return none })
	during(50*time.Second, func(int) float64 { return 3000 }) // not for long enough
	during(time.Minute, func(int) float64 { return none })
	if len(said) != 0 {
		t.Fatalf("too early: %+v", said)
	}
	during(20*time.Minute, func(i int) float64 { return 3550 - float64(i) })
	during(20*time.Minute, func(i int) float64 { return []float64{3500, 5000, 9000, 3000}[i%4] })
	if len(said) != 1 || said[0].Rule != "limit-soon" || said[0].State != Firing || !strings.Contains(said[0].Title, "is forecast to reach its limit in") {
		t.Fatalf("said %+v", said)
	}
	during(15*time.Minute, func(int) float64 { return none })
	if len(said) != 2 || said[1].State != Resolved {
		t.Errorf("said %+v", said)
	}
}
