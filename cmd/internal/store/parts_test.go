package store

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// TestParts asks that a range in parts is the range as a whole.
func TestParts(t *testing.T) {
	db := stored(t, Options{})
	ctx := context.Background()
	old := runtime.GOMAXPROCS(maxParts)
	defer runtime.GOMAXPROCS(old)
	for _, expr := range []string{
		"heap_bytes", "rate(requests_total[5m])", "rate(heap_bytes[7m])", "sum by (job) (heap_bytes)", "vector(time())",
		"heap_bytes @ start()", "max_over_time(heap_bytes[1h:1m] @ end())", "nothing", "absent(heap_bytes{process=\"p:2\"})",
		"max_over_time(heap_bytes[30m:1m])", "topk(1, heap_bytes)", "requests_total offset 1h",
	} {
		for _, step := range []time.Duration{7 * time.Second, 13 * time.Second, 20 * time.Second, time.Hour} {
			from, to := day.Add(-10*time.Minute), day.Add(6*time.Hour+time.Second)
			x, err := db.engine.parser.ParseExpr(expr)
			if err != nil {
				t.Fatal(err)
			}
			ps := parts(x, from, to, step, maxParts)
			if many := len(ps) > 1; many != (step < time.Hour && expr != "heap_bytes @ start()" && expr != "max_over_time(heap_bytes[1h:1m] @ end())") {
				t.Errorf("%s: %d parts", expr, len(ps))
			}
			for i, p := range ps {
				if i > 0 && !p.from.Equal(ps[i-1].to.Add(step)) {
					t.Errorf("%s: part %d begins at %v, and the one before ends at %v", expr, i, p.from, ps[i-1].to)
				}
			}
			m, warn, err := db.Reader().QueryRange(ctx, expr, from, to, step)
			if err != nil {
				t.Fatal(err)
			}
			whole, said, err := db.queryRange(ctx, expr, from, to, step)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(m, len(warn)) != fmt.Sprint(whole, len(said)) {
				t.Errorf("%s, step %v: in parts\n%.500v\nas a whole\n%.500v", expr, step, m, whole)
			}
		}
	}
}
