package heapgraph

import "sort"

const (
	pageShift  = 13 // runtime's page size, 8 KiB
	chunkShift = 26 // 64 MiB, as heapArenaBytes on 64-bit Linux
	chunkPages = 1 << (chunkShift - pageShift)
	// maxChunks bounds the direct index: 4 TiB of addresses, 256 KiB of index.
	maxChunks = 1 << 16
)

// pages finds the span of an address in constant time: an index of chunks, and for
// each chunk with spans the span of each page. Where the addresses are too far
// apart for that, it searches.
type pages struct {
	low    uint64 // the first chunk
	chunks []uint32
	tables [][chunkPages]uint32 // span+1
}

func newPages(spans []span) pages {
	var p pages
	if len(spans) == 0 {
		return p
	}
	p.low = spans[0].base >> chunkShift
	n := (spans[len(spans)-1].end()-1)>>chunkShift - p.low + 1
	if n > maxChunks {
		return p
	}
	p.chunks = make([]uint32, n)
	for i := range spans {
		s := &spans[i]
		// The first span of a page that two share stays: span looks further from there.
		for page := s.base >> pageShift; page <= (s.end()-1)>>pageShift; page++ {
			c := page>>(chunkShift-pageShift) - p.low
			if p.chunks[c] == 0 {
				p.tables = append(p.tables, [chunkPages]uint32{})
				p.chunks[c] = uint32(len(p.tables))
			}
			if e := &p.tables[p.chunks[c]-1][page%chunkPages]; *e == 0 {
				*e = uint32(i + 1)
			}
		}
	}
	return p
}

// span returns the index of the span that the address lies in.
func (p *pages) span(addr uint64, spans []span) (int, bool) {
	i := 0
	if p.chunks != nil {
		c := addr>>chunkShift - p.low // wraps below low, and is too large then
		if c >= uint64(len(p.chunks)) || p.chunks[c] == 0 {
			return 0, false
		}
		i = int(p.tables[p.chunks[c]-1][addr>>pageShift%chunkPages]) - 1
		if i < 0 {
			return 0, false
		}
		for i < len(spans) && spans[i].end() <= addr {
			i++
		}
	} else {
		i = sort.Search(len(spans), func(i int) bool { return spans[i].end() > addr })
	}
	if i == len(spans) || addr < spans[i].base {
		return 0, false
	}
	return i, true
}
