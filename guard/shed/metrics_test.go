package shed

import (
	"bytes"
	"testing"

	"github.com/heapwright/heapwright/metric"
)

var _ metric.Source = (*Gate)(nil)

func TestMetrics(t *testing.T) {
	g := NewGate(Options{})
	g.SetShares(Shares{High: 0.5})
	g.Admit(Low, 1)
	ticket, _ := g.Admit(Critical, 4096)
	defer ticket.Done()
	text := func() string {
		var b bytes.Buffer
		if err := metric.WriteText(&b, g); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	unbounded := text()
	for _, want := range []string{
		`heapwright_shed_requests_total{class="low",outcome="shed_by_share"} 1`,
		`heapwright_shed_requests_total{class="low",outcome="shed_by_capacity"} 0`,
		`heapwright_shed_requests_total{class="critical",outcome="admitted"} 1`,
		`heapwright_shed_spared_total{class="normal"} 0`,
		`heapwright_shed_share_ratio{class="high"} 0.5`,
		`heapwright_shed_share_ratio{class="critical"} 1`,
		`heapwright_shed_in_flight_requests 1`,
		`heapwright_shed_in_flight_memory_bytes 4096`,
		`heapwright_shed_callback_panics_total 0`,
	} {
		if !bytes.Contains([]byte(unbounded), []byte(want+"\n")) {
			t.Errorf("missing: %s", want)
		}
	}
	const capacity = "heapwright_shed_capacity_bytes"
	if bytes.Contains([]byte(unbounded), []byte(capacity)) {
		t.Error("a capacity where there is none")
	}
	g.SetCapacity(1 << 20)
	if bounded := text(); !bytes.Contains([]byte(bounded), []byte(capacity+" 1.048576e+06\n")) {
		t.Errorf("no capacity in\n%s", bounded)
	}
}
