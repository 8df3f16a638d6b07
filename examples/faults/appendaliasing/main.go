// Appendaliasing keeps a summary of each customer's last batch: its first record,
// and one for the sum. append writes the sum into the batch's own array, behind the
// first record, and makes no copy: each summary of two records keeps the array of
// all 256.
//
// Fix: append(batch[:1:1], sum).
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type record struct {
	customer, amount int64
	note             [48]byte
}

// There are this many customers, and never more.
var summaries = make([][]record, 100_000)

func main() {
	work.Run(1.5, func(n int) { summarize(n%len(summaries), readBatch(int64(n))) })
}

func summarize(customer int, batch []record) {
	sum := record{customer: int64(customer)}
	for _, r := range batch {
		sum.amount += r.amount
	}
	summaries[customer] = append(batch[:1], sum)
}

func readBatch(customer int64) []record {
	batch := make([]record, 256)
	for i := range batch {
		batch[i] = record{customer: customer, amount: int64(i)}
	}
	return batch
}
