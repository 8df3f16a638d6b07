package groupcommit

import (
	"time"

	"github.com/heapwright/heapwright/metric"
)

// Stats are the numbers of a Writer since New.
type Stats struct {
	Records     uint64 // accepted
	Batches     uint64 // written
	Bytes       uint64 // written
	Syncs       uint64
	Writing     time.Duration // spent in the file's Write
	Syncing     time.Duration // spent in the file's Sync
	Waits       uint64        // records that had to wait for room
	Refused     uint64        // records that TryWrite had no room for
	Lost        uint64        // records accepted of which it is not known whether the file, which failed, has them
	QueuedBytes int64         // wait now
	PeakBytes   int64         // the most that waited
}

// Stats returns the numbers as they are now.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Metrics emits the writer's numbers, without a label: wrap it to tell several
// writers apart.
func (w *Writer) Metrics(emit func(metric.Metric)) {
	st := w.Stats()
	for _, m := range [...]metric.Metric{
		{Name: "heapwright.groupcommit.records", Unit: "{record}", Kind: metric.Counter, Value: float64(st.Records), Help: "Records accepted."},
		{Name: "heapwright.groupcommit.batches", Unit: "{batch}", Kind: metric.Counter, Value: float64(st.Batches), Help: "Batches written."},
		{Name: "heapwright.groupcommit.written", Unit: "By", Kind: metric.Counter, Value: float64(st.Bytes), Help: "Bytes written."},
		{Name: "heapwright.groupcommit.syncs", Unit: "{sync}", Kind: metric.Counter, Value: float64(st.Syncs), Help: "Syncs of the file."},
		{Name: "heapwright.groupcommit.write_time", Unit: "s", Kind: metric.Counter, Value: st.Writing.Seconds(), Help: "Time spent writing to the file."},
		{Name: "heapwright.groupcommit.sync_time", Unit: "s", Kind: metric.Counter, Value: st.Syncing.Seconds(), Help: "Time spent syncing the file."},
		{Name: "heapwright.groupcommit.waits", Unit: "{record}", Kind: metric.Counter, Value: float64(st.Waits), Help: "Records that had to wait for room."},
		{Name: "heapwright.groupcommit.refused", Unit: "{record}", Kind: metric.Counter, Value: float64(st.Refused), Help: "Records that there was no room for."},
		{Name: "heapwright.groupcommit.lost", Unit: "{record}", Kind: metric.Counter, Value: float64(st.Lost), Help: "Records accepted of which it is not known whether the file, which failed, has them."},
		{Name: "heapwright.groupcommit.queued", Unit: "By", Kind: metric.Gauge, Value: float64(st.QueuedBytes), Help: "Bytes that wait to be written."},
	} {
		emit(m)
	}
}
