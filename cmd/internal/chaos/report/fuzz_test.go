package report

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// FuzzReport: whatever a result file says, no report panics, hangs or grows without
// bound, and every drawing closes what it opens.
func FuzzReport(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint8(40*seed), "<b>\x1b[2J")
	}
	f.Fuzz(func(t *testing.T, seed uint64, spoilt uint8, text string) {
		r, v := synth()
		// Less of it is as much to stumble over, and soon read.
		r.Points, r.Cycles = thin(r.Points, 200), thin(r.Cycles, 60)
		rng := rand.New(rand.NewPCG(seed, 1))
		spoil(reflect.ValueOf(r), rng, float64(spoilt)/2000, text)
		spoil(reflect.ValueOf(v), rng, float64(spoilt)/400, text)
		check(t, r, v)
	})
}

func check(t *testing.T, r *chaos.Run, v *chaos.Verdict) {
	t.Helper()
	page := htmlOf(t, r, v)
	if len(page) > 4<<20 {
		t.Fatalf("a page of %d bytes", len(page))
	}
	if n := len(textOf(t, r, v, 80, true)); n > 256<<10 {
		t.Fatalf("%d bytes for a terminal", n)
	}
	for _, bad := range []string{"<script", "NaN%", "Inf%", `="NaN`, "%!"} {
		if strings.Contains(page, bad) && !strings.Contains(r.PlanText, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	wellFormed(t, page)
	if _, err := json.Marshal(JSON(r, v)); err != nil {
		t.Error(err)
	}
	if s := Headline(r, v); strings.ContainsAny(s, "\n\x1b") {
		t.Errorf("headline %q", s)
	}
}

// spoil puts what nobody expects into some of the fields of a value.
func spoil(v reflect.Value, rng *rand.Rand, share float64, text string) {
	hit := rng.Float64() < share
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			if hit && v.CanSet() {
				v.SetZero()
				return
			}
			spoil(v.Elem(), rng, share, text)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				spoil(v.Field(i), rng, share, text)
			}
		}
	case reflect.Slice:
		if hit && rng.IntN(20) == 0 {
			v.SetZero()
			return
		}
		for i := range v.Len() {
			spoil(v.Index(i), rng, share, text)
		}
	case reflect.Map:
		if m, ok := v.Interface().(map[chaos.Metric]float64); ok && hit {
			for k := range m {
				m[k] = odd(rng)
			}
		}
	case reflect.Float64:
		if hit {
			v.SetFloat(odd(rng))
		}
	case reflect.Int, reflect.Int64:
		if hit {
			v.SetInt([]int64{0, -1, 1, 7, 1 << 40, math.MaxInt64, math.MinInt64}[rng.IntN(7)] >> uint(rng.IntN(2)*40))
		}
	case reflect.Uint64:
		if hit {
			v.SetUint([]uint64{0, 1, math.MaxUint64, 1 << 50}[rng.IntN(4)])
		}
	case reflect.String:
		if hit {
			v.SetString([]string{"", text, strings.Repeat("long ", 4000), "fault", "heap.retain", "latency_p99_seconds"}[rng.IntN(6)])
		}
	case reflect.Bool:
		if hit {
			v.SetBool(!v.Bool())
		}
	}
}

func odd(rng *rand.Rand) float64 {
	return []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, 1e-9, 1e18}[rng.IntN(10)]
}

// A run of days with as much as a hostile file can have stays a page that a browser
// opens.
func TestBounded(t *testing.T) {
	r, v := synth()
	rng := rand.New(rand.NewPCG(3, 3))
	end := r.Points[len(r.Points)-1].At
	for range 8000 {
		at := time.Duration(rng.Int64N(int64(end)))
		r.Events = append(r.Events, chaos.Event{At: at, Kind: []chaos.EventKind{chaos.EventState, chaos.EventBroken, chaos.EventLevel, chaos.EventKill, chaos.EventNote, chaos.EventFinding}[rng.IntN(6)],
			Fault: rng.IntN(4), Text: strings.Repeat("w", rng.IntN(900)), Value: rng.Float64() * 1e9})
		r.Cycles = append(r.Cycles, chaos.Cycle{At: at, Pause: time.Duration(rng.Int64N(1e7)), LiveBytes: rng.Uint64N(1e9), GoalBytes: rng.Uint64N(1e9)})
		r.Points = append(r.Points, chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.WorkingSet: rng.Float64() * 1e9, chaos.GuardState: float64(rng.IntN(3)), chaos.Ready: float64(rng.IntN(2)), chaos.LatencyP99: rng.Float64()}})
		r.Left = append(r.Left, strings.Repeat("l", 300))
	}
	for range 500 {
		r.Plan.Faults = append(r.Plan.Faults, r.Plan.Faults[0])
		r.Faults = append(r.Faults, r.Faults[0])
		r.Faults[len(r.Faults)-1].Fault = len(r.Plan.Faults) - 1
		v.Faults = append(v.Faults, v.Faults[0])
		v.Criteria = append(v.Criteria, v.Criteria...)
		v.Criteria = v.Criteria[:min(len(v.Criteria), 5000)]
		v.Margin.Points = append(v.Margin.Points, chaos.MarginPoint{RoomBytes: rng.Float64() * 1e9, GCCPURatio: rng.Float64(), Has: []chaos.Metric{chaos.GCCPURatio}, Failed: []string{"guard"}})
		v.Margin.Layers = append(v.Margin.Layers, v.Margin.Layers[0])
	}
	page := htmlOf(t, r, v)
	text := textOf(t, r, v, 80, false)
	t.Logf("a page of %d KiB, a text of %d KiB", len(page)>>10, len(text)>>10)
	check(t, r, v)
}
