package groupcommit_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

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
				produce(b, producers, func() error { return l.append(record) })
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
					produce(b, producers, func() error { return w.Append(context.Background(), record) })
				} else {
					produce(b, producers, func() error { _, err := w.Write(record); return err })
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

func create(b *testing.B) *os.File {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func produce(b *testing.B, producers int, one func() error) {
	b.ReportAllocs()
	var wg sync.WaitGroup
	for p := range producers {
		n := b.N / producers
		if p < b.N%producers {
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
