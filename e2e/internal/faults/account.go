package faults

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A Point is what a program says of its memory, once a second, by -growth.
type Point struct {
	Seconds    float64 `json:"seconds"`
	Live       float64 `json:"live_bytes"`
	Goroutines float64 `json:"goroutines"`
	Stacks     float64 `json:"stack_bytes"`
	Total      float64 `json:"total_bytes"`
	RSS        float64 `json:"rss_bytes"` // what the kernel says; not the program's
}

// Points reads what a program wrote. The last line may be cut.
func Points(text []byte) (out []Point) {
	for len(text) > 0 {
		line := text
		if i := slices.Index(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		var p Point
		if json.Unmarshal(line, &p) == nil {
			out = append(out, p)
		}
	}
	return out
}

// Of are the values of what grows.
func Of(points []Point, grows string) (out []float64) {
	for _, p := range points {
		switch grows {
		case GrowsLive:
			out = append(out, p.Live)
		case GrowsGoroutines:
			out = append(out, p.Goroutines)
		case GrowsStacks:
			out = append(out, p.Stacks)
		case GrowsRSS:
			out = append(out, p.RSS)
		}
	}
	return out
}

// PerMinute is the slope of the values by least squares, a minute.
func PerMinute(points []Point, grows string) float64 {
	y := Of(points, grows)
	if len(y) < 2 {
		return 0
	}
	var mx, my float64
	for i, p := range points {
		mx += p.Seconds / float64(len(y))
		my += y[i] / float64(len(y))
	}
	var xy, xx float64
	for i, p := range points {
		xy += (p.Seconds - mx) * (y[i] - my)
		xx += (p.Seconds - mx) * (p.Seconds - mx)
	}
	if xx == 0 {
		return 0
	}
	return 60 * xy / xx
}

// warm is how many of the first points are left out, of a program that has just been
// started: until then it builds the data that it holds.
const warm = 5

// True holds a program's own account against what is said of it in the list, and says
// what is not so. It takes minutes at a high speed for a healthy program to be done
// with its growing.
func True(f *Fault, points []Point, speed float64) error {
	if len(points) < 40 {
		return fmt.Errorf("an account of %d seconds is too short", len(points))
	}
	points = points[warm:]
	switch f.Kind {
	case Leak:
		got, want := PerMinute(points, f.Grows), f.PerMinute*speed
		if got < 0.6*want || got > 1.6*want {
			return fmt.Errorf("%s grow by %.4g a minute, want about %.4g", f.Grows, got, want)
		}
	case Healthy:
		// Up and down is fine: what it has in its worst moments must not be more in the
		// last quarter than in the one before.
		n := len(points)
		for _, what := range []string{GrowsLive, GrowsGoroutines, GrowsStacks} {
			v := Of(points, what)
			before, after := slices.Max(v[n/2:n*3/4]), slices.Max(v[n*3/4:])
			if after > 1.15*before+20 {
				return fmt.Errorf("%s are up to %.4g in the third quarter and %.4g in the last", what, before, after)
			}
		}
	}
	return nil
}
