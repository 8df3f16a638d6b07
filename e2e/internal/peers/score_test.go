package peers

import (
	"testing"
	"time"
)

var phases = Phases{Warm: 2 * time.Second, Healthy: 10 * time.Second, Fault: 10 * time.Second, After: 20 * time.Second}

// steady is ten requests a second with an outcome that depends on when they are due.
func steady(outcome func(time.Duration) (Outcome, time.Duration)) (out []Request) {
	for due := time.Duration(0); due < phases.Length(); due += 100 * time.Millisecond {
		o, latency := outcome(due)
		out = append(out, Request{Due: due, Outcome: o, Latency: latency})
	}
	return out
}

func TestJudge(t *testing.T) {
	const quick = 20 * time.Millisecond
	tests := []struct {
		name                 string
		outcome              func(time.Duration) (Outcome, time.Duration)
		good, refused, lost  int // while the fault lasts
		p99, trip, recovered float64
	}{
		{"nothing happens", func(time.Duration) (Outcome, time.Duration) { return Answered, quick },
			100, 0, 0, 0.02, -1, 0},
		{"all is refused, until three seconds after", func(at time.Duration) (Outcome, time.Duration) {
			if at >= 14*time.Second && at < 25*time.Second {
				return Refused, time.Millisecond
			}
			return Answered, quick
		}, 20, 80, 0, 0.02, 2, 3},
		{"it never comes back", func(at time.Duration) (Outcome, time.Duration) {
			if at >= 12*time.Second {
				return Failed, 0
			}
			return Answered, quick
		}, 0, 0, 100, 0, -1, -1},
		{"late is not good", func(at time.Duration) (Outcome, time.Duration) {
			if at >= 12*time.Second && at < 22*time.Second {
				return Answered, Deadline + quick
			}
			return Answered, Deadline
		}, 0, 0, 100, 1.02, -1, 0},
		{"timed out counts as long as it was waited for", func(at time.Duration) (Outcome, time.Duration) {
			if at >= 12*time.Second && at < 22*time.Second && at%time.Second == 0 {
				return TimedOut, GiveUp
			}
			return Answered, quick
		}, 90, 0, 10, 2, -1, 0},
		{"a few that fail all the time do not keep it from being well", func(at time.Duration) (Outcome, time.Duration) {
			if at%time.Second == 0 {
				return Failed, 0
			}
			return Answered, quick
		}, 90, 0, 10, 0.02, -1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Judge(steady(tt.outcome), phases)
			f := s.Fault
			if f.Due != 100 || f.Good != tt.good || f.Refused != tt.refused || f.Due-f.Good-f.Refused != tt.lost || f.P99 != tt.p99 {
				t.Errorf("in the fault: %+v", f)
			}
			if s.Trip != tt.trip || s.Recover != tt.recovered {
				t.Errorf("tripped after %v, well after %v; want %v and %v", s.Trip, s.Recover, tt.trip, tt.recovered)
			}
			if want := float64(tt.good) / 10; f.Goodput() != want {
				t.Errorf("goodput %v, want %v", f.Goodput(), want)
			}
		})
	}
}

func TestJudgeNothing(t *testing.T) {
	if s := Judge(nil, phases); s.Recover != -1 || s.Trip != -1 || s.Fault.Due != 0 || s.Fault.Goodput() != 0 {
		t.Errorf("of no requests: %+v", s)
	}
}

func TestNoise(t *testing.T) {
	n := Noise{Seed: 1, Rate: 10, Dependency: 20 * time.Millisecond}
	sum, spikes, slots := 0.0, 0, 0
	for at := time.Duration(0); at < time.Hour; at += noiseSlot {
		r := n.At(at)
		if r != n.At(at) {
			t.Fatal("the same time has two rates")
		}
		if r <= 0 || r > n.Rate*(1+noiseSwing)*noiseSpike {
			t.Fatalf("at %v the rate is %v", at, r)
		}
		if r > n.Rate*(1+noiseSwing) {
			spikes++
		}
		slots++
		sum += r
	}
	if spikes < 20 || spikes > 60 {
		t.Errorf("%d spikes in an hour, want about 40", spikes)
	}
	if mean := sum / float64(slots); mean < n.Rate || mean > 1.5*n.Rate {
		t.Errorf("the rate is %v on average", mean)
	}
}
