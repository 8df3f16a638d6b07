// Finalizerchain writes documents as chains of pages. Each page has a finalizer, as
// a net for those who forget to close it. What a finalizer's object refers to stays
// alive until it has run, so that of each chain the collector frees one page in a
// cycle, the first; and there are 500 pages to a chain.
//
// Fix: one finalizer for the document; or none, and close it.
package main

import (
	"runtime"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type page struct {
	next *page
	text [400]byte
	open bool
}

var written int

func main() {
	work.Run(0.07, func(int) { write(500) })
}

func write(pages int) {
	var first *page
	for range pages {
		first = newPage(first)
	}
	for p := first; p != nil; p = p.next {
		written += len(p.text)
	}
}

func newPage(next *page) *page {
	p := &page{next: next, open: true}
	runtime.SetFinalizer(p, (*page).close)
	return p
}

func (p *page) close() { p.open = false }
