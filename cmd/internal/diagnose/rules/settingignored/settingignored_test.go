package settingignored

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	env := func(kv ...string) *record.Recording {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return rt.Server{GoEnv: m}.Recording()
	}
	rt.Run(t, &Rule,
		rt.Case{Name: "percent_sign", Rec: env("GOGC", "200%"), Want: "warning"},
		rt.Case{Name: "folklore", Rec: env("GOGC", "off,gogc=on"), Want: "warning"},
		rt.Case{Name: "both", Rec: env("GOGC", "1e3", "GOMAXPROCS", "2.5"), Want: "warning"},
		rt.Case{Name: "zero_procs", Rec: env("GOMAXPROCS", "0"), Want: "warning"},
		rt.Case{Name: "off", Rec: env("GOGC", "off", "GOMAXPROCS", "4")},
		rt.Case{Name: "number", Rec: env("GOGC", "200")},
		rt.Case{Name: "empty", Rec: env("GOGC", "")},
		rt.Case{Name: "unset", Rec: env()},
	)
}
