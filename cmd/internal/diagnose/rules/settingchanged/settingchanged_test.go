package settingchanged

import (
	"math"
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	at := func(when float64, change func(s *record.Sample)) func(float64, *record.Sample) {
		return func(t float64, s *record.Sample) {
			if t >= when {
				change(s)
			}
		}
	}
	with := func(sv rt.Server, change func(float64, *record.Sample)) *record.Recording {
		sv.Change = change
		return sv.Recording()
	}
	contained := rt.Server{Container: 256 * rt.MiB, Quota: 2}
	limited := rt.Server{Container: 256 * rt.MiB, Limit: 200 * rt.MiB}
	squeeze := func(t float64, s *record.Sample) {
		s.CgroupLimitBytes = uint64(256-32*min(3, math.Floor(t/5))) * rt.MiB
	}
	rt.Run(t, &Rule,
		rt.Case{Name: "limit_lowered", Rec: with(contained, squeeze), Want: "info"},
		rt.Case{Name: "limit_lowered_below_gomemlimit", Rec: with(limited, squeeze), Want: "warning"},
		rt.Case{Name: "limit_lowered_to_what_is_in_use", Rec: with(contained, at(9, func(s *record.Sample) { s.CgroupLimitBytes = 50 * rt.MiB })), Want: "warning"},
		rt.Case{Name: "limit_raised", Rec: with(contained, at(9, func(s *record.Sample) { s.CgroupLimitBytes = rt.GiB })), Want: "info"},
		rt.Case{Name: "limit_gone", Rec: with(contained, at(9, func(s *record.Sample) { s.Has.Remove(record.FieldCgroupLimitBytes) })), Want: "info"},
		rt.Case{Name: "limit_lowered_and_back", Rec: with(contained, func(t float64, s *record.Sample) {
			s.CgroupLimitBytes = 256 * rt.MiB
			if t >= 4 && t < 5 {
				s.CgroupLimitBytes = 100 * rt.MiB
			}
		}), Want: "info"},
		rt.Case{Name: "quota_lowered", Rec: with(contained, at(9, func(s *record.Sample) { s.CgroupCPUQuota = time.Second / 10 })), Want: "info"},
		rt.Case{Name: "settings", Rec: with(rt.Server{}, at(9, func(s *record.Sample) { s.GOGCPercent, s.GOMEMLIMITBytes, s.GOMAXPROCS = -1, 90*rt.MiB, 4 })), Want: "info"},
		rt.Case{Name: "led_by_a_library", Rec: with(limited, func(t float64, s *record.Sample) { s.GOMEMLIMITBytes = 200*rt.MiB + int64(t*3*rt.KiB) })},
		rt.Case{Name: "nothing", Rec: contained.Recording()},
		rt.Case{Name: "no_samples", Rec: &record.Recording{}},
	)
}
