package godebug

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	with := func(version, value string) *record.Recording {
		return rt.Server{GoVersion: version, GoEnv: map[string]string{"GODEBUG": value}}.Recording()
	}
	rt.Run(t, &Rule,
		rt.Case{Name: "misspelt", Rec: with("go1.26.8", "gctrce=1,madvdontneed=1"), Want: "warning"},
		rt.Case{Name: "folklore", Rec: with("go1.22.1", "gcgenerational=1"), Want: "warning"},
		rt.Case{Name: "no_value", Rec: with("go1.24.1", "gctrace"), Want: "warning"},
		rt.Case{Name: "too_old", Rec: with("go1.24.1", "containermaxprocs=0"), Want: "info"},
		rt.Case{Name: "removed", Rec: with("go1.25.1", "x509sha1=1"), Want: "info"},
		rt.Case{Name: "unknown_version", Rec: with("devel go1.28-abc", "gctrac=1,\x1b[31m=2"), Want: "warning"},
		rt.Case{Name: "known", Rec: with("go1.26.8", "gctrace=1,scavtrace=1,netdns=go+2,cpu.avx512=off,http2debug=2,memprofilerate=1,fips140=on")},
		rt.Case{Name: "empty", Rec: with("go1.26.8", " ,")},
		rt.Case{Name: "unset", Rec: rt.Server{}.Recording()},
	)
}

func TestTable(t *testing.T) {
	if len(known) < 90 {
		t.Fatalf("the table has %d keys", len(known))
	}
	for _, key := range []string{"gctrace", "asyncpreemptoff", "netdns", "http2client", "memprofilerate", "http2debug"} {
		if s := known[key]; s.first != firstMinor || s.last != lastMinor {
			t.Errorf("%s is known from 1.%d to 1.%d, want all", key, s.first, s.last)
		}
	}
	// Changed: 25 in internal/godebugs; added with the feature.
	if s := known["containermaxprocs"]; s.first != 25 {
		t.Errorf("containermaxprocs is known from 1.%d, want 1.25", s.first)
	}
	for _, key := range []string{"gcgenerational", "gogc", "all", "GODEBUG"} {
		if s, ok := known[key]; ok {
			t.Errorf("%s is in the table: %v", key, s)
		}
	}
}
