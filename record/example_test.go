package record_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Write a recording, read it, and compare its first and its last sample.
func Example() {
	var file bytes.Buffer
	w := record.NewWriter(&file)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := w.Process(record.Process{PID: 4711, Name: "orders", GoVersion: "go1.26.8"}); err != nil {
		fmt.Println(err)
	}
	for i := range 11 {
		s := record.Sample{Time: start.Add(time.Duration(i) * time.Second), Source: record.SourceRemote}
		s.TotalAllocBytes = uint64(i) << 20
		s.Has.Add(record.FieldTotalAllocBytes)
		if err := w.Sample(&s); err != nil {
			fmt.Println(err)
		}
	}
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}

	recordings, err := record.ReadAll(&file)
	if err != nil {
		fmt.Println(err)
	}
	for _, r := range recordings {
		first, last := r.Ends(record.FieldTotalAllocBytes)
		rate, _ := record.Rate(first, last, record.FieldTotalAllocBytes)
		fmt.Printf("%s allocates %.0f bytes a second\n", r.Process.Name, rate)
	}
	// Output: orders allocates 1048576 bytes a second
}
