package daemon

import (
	"testing"
	"time"
)

// A kill counts once, whether the counter of the cgroup shows it later or went with it.
func TestDeathsCount(t *testing.T) {
	x := &deaths{kills: map[string]float64{}}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if x.count("a") != 0 || x.near("a", at) != "" {
		t.Error("there are kills that nobody told of")
	}
	x.add(death{"a", "a-1", at}, 3)
	if got := x.count("a"); got != 4 {
		t.Errorf("%v kills, want 4: the counter was at 3 before", got)
	}
	x.add(death{"a", "a-2", at.Add(time.Hour)}, 0) // in a new cgroup
	if got := x.count("a"); got != 5 {
		t.Errorf("%v kills, want 5: the count does not go back with the counter", got)
	}
	for _, c := range []struct {
		process string
		at      time.Time
		want    string
	}{{"a", at.Add(time.Minute), "a-1"}, {"a", at.Add(time.Hour + time.Second), "a-2"}, {"a", at.Add(30 * time.Minute), ""}, {"b", at, ""}} {
		if got := x.near(c.process, c.at); got != c.want {
			t.Errorf("%s at %v: %q, want %q", c.process, c.at, got, c.want)
		}
	}
	for range 3 * maxDeaths {
		x.add(death{"b", "b", at}, 0)
	}
	if len(x.recent) > maxDeaths {
		t.Errorf("%d are remembered", len(x.recent))
	}
}
