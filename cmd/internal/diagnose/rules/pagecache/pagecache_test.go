package pagecache

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	cache := rt.Server{Container: 320 * rt.MiB, Cache: rt.Const(100 * rt.MiB)}
	little := cache
	little.Cache = rt.Const(40 * rt.MiB)
	rt.Run(t, &Rule,
		rt.Case{Name: "cache", Rec: cache.Recording(), Want: "info"},
		rt.Case{Name: "little", Rec: little.Recording()},
		rt.Case{Name: "no_limit", Rec: rt.Server{Cache: rt.Const(100 * rt.MiB)}.Recording()},
	)
}
