package memlimit

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const mib = 1 << 20

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name           string
		in             inputs
		nonGo, reserve uint64 // MiB
		limit          int64  // MiB
		tooSmall       bool
		why            string
	}{
		{"guess of a tenth", inputs{limit: 1000 * mib}, 100, 32, 868, false, "32 MiB"},
		{"guess in a small container", inputs{limit: 100 * mib}, 16, 10, 74, false, ""},
		{"guess in a tiny one", inputs{limit: 16 * mib}, 4, 1, 10, false, ""},
		{"more there already than the guess", inputs{limit: 1000 * mib, nonGo: 300 * mib}, 300, 32, 668, false, ""},
		{"measured", inputs{limit: 1000 * mib, nonGo: 20 * mib, measured: true}, 20, 32, 948, false, ""},
		{"two per cent of much", inputs{limit: 10000 * mib, nonGo: 0, measured: true}, 0, 200, 9800, false, "2%"},
		{"noise", inputs{limit: 1000 * mib, nonGo: 100 * mib, measured: true, rise: 50 * mib, over: 30 * mib}, 100, 80, 820, false, "grew by 50.0 MiB"},
		{"noise is bounded", inputs{limit: 1000 * mib, nonGo: 100 * mib, measured: true, rise: 5000 * mib}, 100, 250, 650, false, ""},
		{"configured reserve", inputs{limit: 1000 * mib, measured: true, reserve: 300 * mib}, 0, 300, 700, false, "configured"},
		{"live takes of the reserve", inputs{limit: 1000 * mib, nonGo: 100 * mib, measured: true, live: 790 * mib, fixed: 10 * mib}, 100, 21, 879, false, "what lives needs it"},
		{"live does not fit", inputs{limit: 1000 * mib, nonGo: 100 * mib, measured: true, live: 900 * mib, fixed: 10 * mib}, 100, 10, 890, true, "the last of it"},
		{"live is more than the limit", inputs{limit: 1000 * mib, nonGo: 0, measured: true, live: 2000 * mib}, 0, 10, 990, true, "the last of it"},
		{"all is not Go's", inputs{limit: 100 * mib, nonGo: 500 * mib, measured: true}, 100, 0, 4, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := plan(tt.in)
			if s.nonGo/mib != tt.nonGo || s.reserve/mib != tt.reserve || s.limit/mib != tt.limit || s.tooSmall != tt.tooSmall || !strings.Contains(s.reserveWhy, tt.why) {
				t.Errorf("non-Go %d, reserve %d (%s), limit %d, too small %t; want %d, %d (%s), %d, %t",
					s.nonGo/mib, s.reserve/mib, s.reserveWhy, s.limit/mib, s.tooSmall, tt.nonGo, tt.reserve, tt.why, tt.limit, tt.tooSmall)
			}
		})
	}
}

// bytes draws a number of bytes of any size that memory has, or an absurd one.
func bytes(r *rand.Rand) uint64 {
	switch r.IntN(12) {
	case 0:
		return 0
	case 1:
		return r.Uint64()
	case 2:
		return math.MaxUint64
	}
	return uint64(math.Exp(r.Float64() * math.Log(1<<44)))
}

func TestPlanProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		in := inputs{limit: minLimit + bytes(r)%(1<<46), nonGo: bytes(r), measured: r.IntN(2) == 0, rise: bytes(r), over: bytes(r),
			reserve: bytes(r) % (1 << 50), live: bytes(r), fixed: bytes(r)}
		s := plan(in)
		room := max(0, float64(in.limit)-float64(s.nonGo)-float64(lastReserve(in.limit)))
		if !s.tooSmall && s.limit < int64(s.floor) {
			t.Fatalf("%+v: limit %d is below what lives, %d", in, s.limit, s.floor)
		}
		if float64(s.limit) > max(room, minLimit/2) {
			t.Fatalf("%+v: limit %d is above the %v that are left", in, s.limit, room)
		}
		if s.tooSmall && (s.limit != s.ceiling || float64(s.floor) <= room) {
			t.Fatalf("%+v: limit %d, floor %d, room %v: is that too small?", in, s.limit, s.floor, room)
		}
		if s.ceiling < s.limit {
			t.Fatalf("%+v: ceiling %d below limit %d", in, s.ceiling, s.limit)
		}
		if in.measured && s.nonGo != min(in.nonGo, in.limit) {
			t.Fatalf("%+v: measured, but %d is taken", in, s.nonGo)
		}

		more := in
		more.limit += bytes(r) % (1 << 46)
		if m := plan(more); m.limit < s.limit-2 { // bytes, of rounding
			t.Fatalf("%+v gives %d, but a limit of %d gives %d", in, s.limit, more.limit, m.limit)
		}
		more = in
		more.measured = true
		less := more
		less.nonGo += bytes(r) % (1 << 46)
		if less.nonGo < in.nonGo {
			less.nonGo = math.MaxUint64
		}
		if a, b := plan(more), plan(less); b.limit > a.limit {
			t.Fatalf("%+v gives %d, but with more that is not Go's, %d, it is %d", more, a.limit, less.nonGo, b.limit)
		}
	}
}

func TestNoise(t *testing.T) {
	var n noise
	at := time.Duration(0)
	add := func(after time.Duration, used, goes uint64, limit int64) {
		at += after
		n.add(at, used*mib, goes*mib, limit*mib)
	}
	want := func(what string, got float64, w float64) {
		t.Helper()
		if math.Abs(got/mib-w) > 0.01 {
			t.Errorf("%s is %.2f MiB, want %.2f", what, got/mib, w)
		}
	}
	add(10*time.Second, 150, 100, 500)
	want("non-Go", n.nonGo.v, 50)
	want("rise", n.rise.v, 0) // what was there at the first look is no rise
	add(10*time.Second, 190, 100, 500)
	want("non-Go", n.nonGo.v, 90)
	want("rise", n.rise.v, 40)
	add(10*time.Second, 100, 120, 500) // Go holds what is not resident
	want("non-Go", n.nonGo.v, 90*math.Exp(-10.0/15))
	add(10*time.Minute, 100, 100, 80)
	want("non-Go", n.nonGo.v, 0)
	want("rise", n.rise.v, 40*math.Exp(-10.0/600-1))
	want("over", n.over.v, 20)
	add(10*time.Minute, 100, 100, -1)
	want("over", n.over.v, 20*math.Exp(-1))
	at = 0 // a clock that went back forgets nothing and adds nothing
	before := n.rise.v
	add(0, 100, 100, -1)
	want("rise", n.rise.v, before/mib)
}
