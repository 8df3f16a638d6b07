package view

import (
	"math"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

func TestGCShare(t *testing.T) {
	sample := func(gc, idleMark, idle, total time.Duration) *record.Sample {
		s := &record.Sample{CPUGCTotal: gc, CPUGCIdle: idleMark, CPUIdle: idle, CPUTotal: total}
		for _, f := range []record.Field{record.FieldCPUGCTotal, record.FieldCPUGCIdle, record.FieldCPUIdle, record.FieldCPUTotal} {
			s.Has.Add(f)
		}
		return s
	}
	for _, tc := range []struct {
		name     string
		from, to *record.Sample
		want     float64 // negative for none
	}{
		{"since the start", &record.Sample{}, sample(20, 10, 50, 100), 0.25},
		{"window", sample(20, 10, 50, 100), sample(40, 10, 100, 200), 0.4},
		{"no cycle between", sample(20, 10, 50, 100), sample(20, 10, 50, 100), -1},
		{"not known", &record.Sample{}, &record.Sample{}, -1},
		{"never idle", &record.Sample{}, sample(100, 0, 0, 100), 1},
		{"nonsense", &record.Sample{}, sample(200, 0, 0, 100), -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, assist, ok := GCShare(tc.from, tc.to)
			if ok != (tc.want >= 0) || ok && (got != tc.want || !math.IsNaN(assist)) {
				t.Errorf("got %v, %v; want %v", got, ok, tc.want)
			}
		})
	}
}
