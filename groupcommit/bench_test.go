package groupcommit_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/groupcommit"
)

// locked is the plain way: a lock, a buffered writer, and where the record must be
// durable a flush and an fsync for each.
type locked struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	sync bool
}

func (l *locked) append(record []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.buf.Write(record); err != nil || !l.sync {
		return err
	}
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.file.Sync()
}

// BenchmarkAppend has producers append records of 200 bytes to a file; an op is a
// record. Durable returns after the fsync, queued as soon as the record is in a
// buffer.
//
//	go test ./groupcommit -run '^$' -bench Append -benchtime 1s
func BenchmarkAppend(b *testing.B) {
	record := make([]byte, 200)
	for _, durable := range []bool{true, false} {
		kind := map[bool]string{true: "durable", false: "queued"}[durable]
		for _, producers := range []int{1, 2, 4, 16, 64} {
			b.Run(fmt.Sprintf("%s/lock+bufio/producers=%d", kind, producers), func(b *testing.B) {
				f := create(b)
				l := &locked{file: f, buf: bufio.NewWriterSize(f, 64<<10), sync: durable}
				produce(b, b.N, producers, func() error { return l.append(record) })
				if err := l.buf.Flush(); err != nil {
					b.Fatal(err)
				}
			})
			b.Run(fmt.Sprintf("%s/groupcommit/producers=%d", kind, producers), func(b *testing.B) {
				o := groupcommit.Options{Sync: groupcommit.SyncBatch}
				if !durable {
					o = groupcommit.Options{Delay: groupcommit.DefaultInterval}
				}
				w := groupcommit.New(create(b), o)
				if durable {
					produce(b, b.N, producers, func() error { return w.Append(context.Background(), record) })
				} else {
					produce(b, b.N, producers, func() error { _, err := w.Write(record); return err })
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
				if st := w.Stats(); st.Batches > 0 {
					b.ReportMetric(float64(st.Records)/float64(st.Batches), "records/batch")
				}
			})
		}
	}
}

// BenchmarkDurable is the proof: the same records by both ways in turns, on the same
// disk. An op is a round; reported is how long the lock takes over how long the group
// takes, as the median over the rounds: above 1 the group is faster.
//
//	go test ./groupcommit -run '^$' -bench Durable -benchtime 15x
func BenchmarkDurable(b *testing.B) {
	record := make([]byte, 200)
	for _, producers := range []int{1, 2, 4, 16, 64} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			f := create(b)
			l := &locked{file: f, buf: bufio.NewWriterSize(f, 64<<10), sync: true}
			w := groupcommit.New(create(b), groupcommit.Options{Sync: groupcommit.SyncBatch})
			ways := []func() error{
				func() error { return l.append(record) },
				func() error { return w.Append(context.Background(), record) },
			}
			var faster []float64
			for b.Loop() {
				var took [2]time.Duration
				for _, i := range rand.Perm(2) {
					start := time.Now()
					produce(b, 128, producers, ways[i])
					took[i] = time.Since(start)
				}
				faster = append(faster, float64(took[0])/float64(took[1]))
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			slices.Sort(faster)
			st := w.Stats()
			b.ReportMetric(faster[len(faster)/2], "lock/group")
			b.ReportMetric(float64(st.Records)/float64(st.Batches), "records/batch")
		})
	}
}

// stalling is a file of which each write takes so long, as one does while the kernel
// makes a writer wait for dirty pages.
type stalling struct{ takes time.Duration }

func (s stalling) Write(b []byte) (int, error) { time.Sleep(s.takes); return len(b), nil }
func (s stalling) Sync() error                 { return nil }

// BenchmarkStall is why one may want the group where nothing needs to be durable: how
// long a producer is held at most, in ms, by a file that stalls for 50 ms a write.
//
//	go test ./groupcommit -run '^$' -bench Stall -benchtime 1x
func BenchmarkStall(b *testing.B) {
	record := make([]byte, 200)
	held := func(b *testing.B, one func() error) {
		longest := time.Duration(0)
		for b.Loop() {
			for range 2000 { // 2 MB a second
				start := time.Now()
				if err := one(); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, time.Since(start))
				time.Sleep(100 * time.Microsecond)
			}
		}
		b.ReportMetric(float64(longest.Microseconds())/1e3, "longest-ms")
	}
	b.Run("lock+bufio", func(b *testing.B) {
		l := &locked{buf: bufio.NewWriterSize(stalling{50 * time.Millisecond}, 64<<10)}
		held(b, func() error { return l.append(record) })
	})
	b.Run("groupcommit", func(b *testing.B) {
		w := groupcommit.New(stalling{50 * time.Millisecond}, groupcommit.Options{})
		held(b, func() error { _, err := w.Write(record); return err })
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

func create(b *testing.B) *os.File {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func produce(b *testing.B, records, producers int, one func() error) {
	b.ReportAllocs()
	var wg sync.WaitGroup
	for p := range producers {
		n := records / producers
		if p < records%producers {
			n++
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range n {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
}
