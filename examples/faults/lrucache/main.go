// Lrucache is healthy: a cache with a bound that takes minutes to fill. Then each
// page that comes in drives out the one that was not asked for the longest.
package main

import (
	"container/list"

	"github.com/heapwright/heapwright/examples/internal/work"
)

const most = 7200

type page struct {
	id   int
	body []byte
}

var (
	byID  = map[int]*list.Element{}
	order = list.New()
)

func main() {
	work.Run(15, func(n int) { get(n) })
}

func get(id int) *page {
	if e := byID[id]; e != nil {
		order.MoveToFront(e)
		return e.Value.(*page)
	}
	p := load(id)
	byID[id] = order.PushFront(p)
	if order.Len() > most {
		last := order.Remove(order.Back()).(*page)
		delete(byID, last.id)
	}
	return p
}

func load(id int) *page { return &page{id: id, body: make([]byte, 2<<10)} }
