package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// full is the directory of a history of 100 processes that is as large as it may be,
// and the time of its last line.
func full(b *testing.B) (dir string, last time.Time) {
	b.Helper()
	dir = b.TempDir()
	h := open(b, dir, 0)
	at := noon
	for len(h.log.segments) < segments || len(h.events.segments) < segments {
		at = at.Add(20 * time.Minute)
		for p := range 100 {
			id := fmt.Sprintf("process-%d", p)
			h.Diagnosed(id, at, []diagnose.Finding{finding("HW1001", diagnose.Warning, "The heap grows, and nobody knows why")})
			if err := h.Event(id, record.Event{Time: at, Kind: record.EventSettingChanged, Text: "GOGC is 200, and was 100"}); err != nil {
				b.Fatal(err)
			}
		}
	}
	h.Close()
	return dir, at
}

func BenchmarkOpen(b *testing.B) {
	dir, _ := full(b)
	for b.Loop() {
		h, err := Open(dir, 0)
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}

func BenchmarkQuery(b *testing.B) {
	dir, last := full(b)
	h := open(b, dir, 0)
	b.Run("episodes of a day", func(b *testing.B) {
		for b.Loop() {
			h.Episodes(Query{From: last.Add(-24 * time.Hour), Limit: 1000})
		}
	})
	b.Run("events of a process", func(b *testing.B) {
		for b.Loop() {
			h.Events(Query{Process: "process-7", Limit: 1000})
		}
	})
}

func BenchmarkDiagnosed(b *testing.B) {
	h := open(b, b.TempDir(), 0)
	f := []diagnose.Finding{finding("HW1001", diagnose.Warning, "x"), finding("HW2001", diagnose.Info, "x")}
	at := noon
	for i := range 2000 {
		h.Diagnosed(fmt.Sprintf("process-%d", i), at, f)
	}
	i := 0
	for b.Loop() {
		i++
		h.Diagnosed(fmt.Sprintf("process-%d", i%2000), at.Add(time.Duration(i/2000)*time.Second), f)
	}
}
