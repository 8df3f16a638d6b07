package scratch_test

import (
	"bytes"
	"fmt"

	"github.com/heapwright/heapwright/scratch"
)

// What a request is parsed into lives in slabs, and goes with the request.
func Example() {
	type field struct{ key, value []byte }
	type request struct {
		fields scratch.Slab[field]
		text   scratch.Slab[byte]
	}
	requests := scratch.NewPool(func(r *request) {
		r.fields.Reset()
		r.text.Reset()
	})

	handle := func(query []byte) {
		r := requests.Get()
		defer requests.Put(r)
		parts := bytes.Count(query, []byte("&")) + 1
		fields := r.fields.Make(parts)
		for i := range fields {
			part, rest, _ := bytes.Cut(query, []byte("&"))
			key, value, _ := bytes.Cut(part, []byte("="))
			fields[i] = field{r.text.Clone(key), r.text.Clone(value)}
			query = rest
		}
		for _, f := range fields {
			fmt.Printf("%s is %s\n", f.key, f.value)
		}
	}
	handle([]byte("name=gopher&colour=blue"))
	// Output:
	// name is gopher
	// colour is blue
}
