package incomplete

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	cut := rt.Server{}.Recording()
	cut.Truncated = "unexpected EOF"
	gaps := rt.Server{}.Recording()
	gaps.Events = []record.Event{
		{Time: rt.Epoch, Kind: record.EventStarted},
		{Time: rt.Epoch, Kind: record.EventLostCycles},
		{Time: rt.Epoch, Kind: record.EventGap, Text: "reading memory: permission denied\x1b[2J"},
	}
	stepped := rt.Server{}.Recording()
	stepped.Events = []record.Event{{Time: rt.Epoch, Kind: record.EventGap, Text: "clock stepped by -3.2s"}}
	rt.Run(t, &Rule,
		rt.Case{Name: "cut_short", Rec: cut, Want: "info"},
		rt.Case{Name: "gaps_and_lost_cycles", Rec: gaps, Want: "info"},
		rt.Case{Name: "clock_stepped", Rec: stepped, Want: "info"},
		rt.Case{Name: "whole", Rec: rt.Server{}.Recording()},
	)
}
