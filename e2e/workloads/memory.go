package main

import (
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

const mib = 1 << 20

// sink keeps results from being optimised away.
var sink [16]any

// webCache replaces random entries of a map of pages, and makes some short-lived
// memory for each, as a cache in front of something slow does.
func webCache(e env) (func(int, *rand.Rand), error) {
	const entries, smallest, largest = 6500, 512, 15872 // 8 KiB on average
	type page struct {
		url    string
		header map[string]string
		body   []byte
	}
	var mu sync.Mutex
	cache := make(map[uint64]*page, entries)
	fetch := func(key uint64, rnd *rand.Rand) *page {
		body := make([]byte, smallest+rnd.IntN(largest-smallest))
		for i := 0; i+8 <= len(body); i += 64 {
			body[i] = byte(key)
		}
		sum := sha256.Sum256(body[:min(len(body), 2048)])
		return &page{
			url:    fmt.Sprintf("/page/%d", key),
			header: map[string]string{"Etag": fmt.Sprintf("%x", sum[:8]), "Content-Type": "text/html"},
			body:   body,
		}
	}
	for k := uint64(0); k < entries; k++ {
		cache[k] = fetch(k, e.rnd)
	}
	return func(w int, rnd *rand.Rand) {
		key := rnd.Uint64N(entries)
		mu.Lock()
		p := cache[key]
		mu.Unlock()
		out := make([]byte, 0, 512)
		out = fmt.Appendf(out, "GET %s\n%v\n%08x", p.url, p.header, crc32.ChecksumIEEE(p.body))
		if rnd.IntN(100) < 60 { // the entry has expired
			p = fetch(key, rnd)
			mu.Lock()
			cache[key] = p
			mu.Unlock()
		}
		sink[w] = strings.ToUpper(string(out))
	}, nil
}

// phases goes back and forth between two ways of life, two seconds each: a small
// live heap with little allocation, and a larger one with more.
func phases(e env) (func(int, *rand.Rand), error) {
	type item struct {
		next *item
		_    [120]byte
	}
	const chain = 64 // items of a slot: 8 KiB
	fill := func() *item {
		var head *item
		for i := 0; i < chain; i++ {
			head = &item{next: head}
		}
		return head
	}
	const small, large = 30 * mib / (chain * 128), 75 * mib / (chain * 128)
	slots := make([]*item, large)
	for i := 0; i < small; i++ {
		slots[i] = fill()
	}
	n, inLarge := small, false
	return func(w int, rnd *rand.Rand) {
		// Integer division rounds to zero, so the time before ready counts from far back.
		want := int((e.elapsed()+24*time.Hour)/(2*time.Second))%2 == 1
		if want != inLarge {
			inLarge = want
			if !inLarge {
				clear(slots[small:])
				n = small
			}
		}
		if inLarge && n < large { // it grows in about half a second
			for i := 0; i < 3 && n < large; i++ {
				slots[n] = fill()
				n++
			}
		}
		slots[rnd.IntN(n)] = fill()
		garbage := 1
		if inLarge {
			garbage = 3
		}
		for i := 0; i < garbage; i++ {
			sink[w] = fill()
		}
	}, nil
}

// pointers replaces subtrees of a forest of small nodes: all that lives is
// pointers, and marking it is slow.
func pointers(e env) (func(int, *rand.Rand), error) {
	type node struct {
		left, right *node
		key         uint64
		_           [3]uint64
	}
	const depth, trees = 10, 1400 // 1023 nodes of 48 bytes each: 48 KiB a tree
	var grow func(depth int, rnd *rand.Rand) *node
	grow = func(depth int, rnd *rand.Rand) *node {
		if depth == 0 {
			return nil
		}
		return &node{left: grow(depth-1, rnd), right: grow(depth-1, rnd), key: rnd.Uint64()}
	}
	forest := make([]*node, trees)
	for i := range forest {
		forest[i] = grow(depth, e.rnd)
	}
	return func(w int, rnd *rand.Rand) {
		i := rnd.IntN(trees)
		if rnd.IntN(3) > 0 {
			sink[w] = grow(depth, rnd)
		} else {
			forest[i] = grow(depth, rnd)
		}
		var sum uint64
		for n := forest[rnd.IntN(trees)]; n != nil; {
			sum += n.key
			if sum&1 == 0 {
				n = n.left
			} else {
				n = n.right
			}
		}
		if sum == 1 {
			sink[w] = sum
		}
	}, nil
}

// bigBytes replaces large buffers in which there are no pointers: there is almost
// nothing to mark.
func bigBytes(e env) (func(int, *rand.Rand), error) {
	const buffers = 200
	size := func(rnd *rand.Rand) int { return 64<<10 + rnd.IntN(448<<10) } // 288 KiB on average
	fill := func(b []byte, rnd *rand.Rand) []byte {
		for i := 0; i+8 <= len(b); i += 512 {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	ring := make([][]byte, buffers)
	for i := range ring {
		ring[i] = fill(make([]byte, size(e.rnd)), e.rnd)
	}
	var mu sync.Mutex
	return func(w int, rnd *rand.Rand) {
		b := fill(make([]byte, size(rnd)), rnd)
		sum := sha256.Sum256(b)
		mu.Lock()
		ring[(int(sum[0])<<8|int(sum[1]))%buffers] = b
		mu.Unlock()
	}, nil
}

// tinyHeap allocates much and keeps almost nothing: the heap is as small as the
// runtime lets it be, and there is a cycle every few milliseconds.
func tinyHeap(e env) (func(int, *rand.Rand), error) {
	type record struct {
		name string
		tags []string
		next *record
	}
	keep := make([]*record, 64)
	return func(w int, rnd *rand.Rand) {
		var head *record
		for i := 0; i < 24; i++ {
			head = &record{name: string(make([]byte, 64+rnd.IntN(128))), tags: make([]string, 4), next: head}
		}
		keep[rnd.IntN(len(keep))] = head
	}, nil
}
