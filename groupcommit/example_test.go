package groupcommit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/heapwright/heapwright/groupcommit"
)

// Many goroutines append to one log, and go on when their record is on disk.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()

	w := groupcommit.New(file, groupcommit.Options{Sync: groupcommit.SyncBatch})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := w.Append(context.Background(), fmt.Appendf(nil, "order %02d\n", i)); err != nil {
				fmt.Println(err)
			}
		}()
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}
	st := w.Stats()
	fmt.Println(st.Records, "records,", st.Bytes, "bytes, no more syncs than records:", st.Syncs <= st.Records)
	// Output: 50 records, 450 bytes, no more syncs than records: true
}
