package store

import (
	"context"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// day is when simulated history begins: at the beginning of a block.
var day = time.Unix(1_700_006_400, 0)

// open opens a store, in a new directory if none is given, for as long as the test runs.
func open(t testing.TB, opt Options) *DB {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	if opt.Reserve == 0 {
		opt.Reserve = 1 << 20
	}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestRoundTrip(t *testing.T) {
	db := open(t, Options{External: []series.Label{{Name: "job", Value: "heapwright"}}})
	now := time.Now().Truncate(time.Second)
	s := db.Series("go_goroutines", series.Label{Name: "process", Value: "a"})
	for i := range 10 {
		b := db.Begin()
		b.Append(s, now.Add(time.Duration(i)*time.Second), float64(i))
		if n, err := b.Commit(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	m, err := db.Reader().Raw(context.Background(), `go_goroutines{process="a"}`, now, now.Add(time.Minute), 0)
	if err != nil || len(m) != 1 || len(m[0].Floats) != 10 {
		t.Fatal(m, err)
	}
}
