package pacer_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
	"github.com/heapwright/heapwright/rtmetrics"
)

// TestFitFromInside fits a twin to what runtime/metrics tells of this very process,
// which knows neither the live heap between cycles nor resident memory.
func TestFitFromInside(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	keep := make([][]byte, 40_000)
	for i := range keep {
		keep[i] = make([]byte, 512)
	}
	var rec record.Recording
	rec.Process = record.Process{PID: 1, GoVersion: runtime.Version(), HostCPUs: runtime.NumCPU()}
	reader := rtmetrics.NewReader()
	// Until there were enough cycles, however slow the machine is.
	for n := uint64(0); n < 24; {
		for range 20_000 {
			keep[rand.IntN(len(keep))] = make([]byte, 256+rand.IntN(512))
		}
		time.Sleep(time.Millisecond)
		var s record.Sample
		reader.Read(&s)
		rec.Samples = append(rec.Samples, s)
		n = s.GCCycles - rec.Samples[0].GCCycles
	}
	runtime.KeepAlive(keep)

	twin, err := pacer.Fit(&rec)
	if err != nil {
		t.Fatal(err)
	}
	if len(twin.Missing()) == 0 {
		t.Error("nothing is missing, though the cycles and resident memory are")
	}
	o, err := pacer.Measure(&rec)
	if err != nil {
		t.Fatal(err)
	}
	f := twin.Forecast(twin.Current())
	if r := f.CyclesPerSecond.Estimate / o.CyclesPerSecond; r < 0.6 || r > 1.7 {
		t.Errorf("%v cycles a second are forecast at the settings that it has, %v were", f.CyclesPerSecond, o.CyclesPerSecond)
	}
	if !math.IsNaN(f.RSSPeakBytes.Estimate) || !math.IsNaN(f.OOMProbability.Estimate) && f.OOMProbability.Estimate != 0 {
		t.Errorf("resident memory is forecast, of which nothing is known: %v", f.RSSPeakBytes)
	}
	wide := twin.Forecast(pacer.Settings{GOGCPercent: 400, GOMEMLIMITBytes: pacer.NoMemoryLimit})
	if r := wide.CyclesPerSecond.Estimate / f.CyclesPerSecond.Estimate; r > 0.45 || r < 0.1 {
		t.Errorf("at GOGC=400 there are %v times as many cycles as at 100", r)
	}
}
