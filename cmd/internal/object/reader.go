package object

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

const (
	// maxGap is how many bytes may be read in vain between two wanted ranges: a
	// request of its own costs as much.
	maxGap = 1 << 10
	// maxRun bounds neighbouring ranges that are read as one, and maxRound what is
	// read at once.
	maxRun   = 256 << 10
	maxRound = 4 << 20
)

// A want is a range to read.
type want struct {
	addr uint64
	size uint32
	id   uint32 // what it is, for who asked
}

// A reader reads ranges of a process in few system calls, and counts.
type reader struct {
	ctx  context.Context
	mem  procmem.Memory
	read uint64 // bytes, in all

	buf  []byte
	reqs []procmem.Request
	runs []readRun
}

// A readRun is wants that are read as one.
type readRun struct {
	first, n int
	addr     uint64
	at, size int
	bad      bool
}

// word reads 8 bytes.
func (r *reader) word(addr uint64) (uint64, error) {
	var b [8]byte
	err := r.bytes(addr, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (r *reader) bytes(addr uint64, b []byte) error {
	r.read += uint64(len(b))
	return r.mem.Read(addr, b)
}

// gone reports whether err says that there is no process any more.
func gone(err error) bool {
	return errors.Is(err, procmem.ErrExited) || errors.Is(err, procmem.ErrReplaced) || errors.Is(err, procmem.ErrAccess)
}

// gather reads all wants, in order of their addresses, and calls fn with each; with
// nil for one that cannot be read. It sorts the list. fn must not keep the bytes.
func (r *reader) gather(list []want, fn func(w want, b []byte) error) error {
	slices.SortFunc(list, func(a, b want) int { return cmp.Compare(a.addr, b.addr) })
	for len(list) > 0 {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, err := r.round(list, fn)
		if err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// round reads as many leading wants as fit, at least one.
func (r *reader) round(list []want, fn func(w want, b []byte) error) (int, error) {
	r.runs = r.runs[:0]
	total, n := 0, 0
	for n < len(list) && (n == 0 || total < maxRound) {
		start := list[n].addr
		end := start + uint64(list[n].size)
		k := n + 1
		for ; k < len(list); k++ {
			w := list[k]
			to := max(end, w.addr+uint64(w.size))
			if w.addr > end+maxGap || to-start > maxRun || to < w.addr || end < start {
				break
			}
			end = to
		}
		if end < start {
			end = start // past the end of memory: not readable
		}
		r.runs = append(r.runs, readRun{first: n, n: k - n, addr: start, at: total, size: int(end - start)})
		total += int(end - start)
		n = k
	}
	r.buf = grow(r.buf, total)
	r.reqs = r.reqs[:0]
	for i := range r.runs {
		u := &r.runs[i]
		r.reqs = append(r.reqs, procmem.Request{Addr: u.addr, Buf: r.buf[u.at : u.at+u.size]})
	}
	if err := r.batch(r.reqs, func(i int) { r.runs[i].bad = true }); err != nil {
		return 0, err
	}
	for i := range r.runs {
		u := &r.runs[i]
		for _, w := range list[u.first : u.first+u.n] {
			var b []byte
			if off := w.addr - u.addr; off+uint64(w.size) <= uint64(u.size) {
				b = r.buf[u.at+int(off):][:w.size:w.size]
				if u.bad {
					if err := r.bytes(w.addr, b); err != nil {
						if gone(err) {
							return 0, err
						}
						b = nil
					}
				}
			}
			if err := fn(w, b); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// batch performs requests and calls failed with the index of each that cannot be
// read. It fails only when the process is gone.
func (r *reader) batch(reqs []procmem.Request, failed func(int)) error {
	for done := 0; done < len(reqs); {
		n, err := r.mem.ReadBatch(reqs[done:])
		for _, q := range reqs[done : done+n] {
			r.read += uint64(len(q.Buf))
		}
		done += n
		if err == nil && n > 0 {
			continue
		}
		if gone(err) {
			return err
		}
		if done < len(reqs) {
			failed(done)
			done++
		}
	}
	return nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}

// pageSize is the runtime's, 8 KiB (runtime/malloc.go).
const (
	pageShift = 13
	pageSize  = 1 << pageShift
)

// cacheSize is the kernel's page, as which memory is there or is not.
const (
	cacheShift = 12
	cacheSize  = 1 << cacheShift
)

// A pageCache keeps pages that were read, for readings here and there.
type pageCache struct {
	r     *reader
	slots []cachedPage
	used  []procmem.Request
	index []int
}

type cachedPage struct {
	page uint64 // address / cacheSize
	data []byte
	ok   bool
}

// newPageCache keeps at most n pages, n a power of two.
func newPageCache(r *reader, n int) *pageCache {
	return &pageCache{r: r, slots: make([]cachedPage, n)}
}

func (c *pageCache) slot(page uint64) *cachedPage {
	return &c.slots[page&uint64(len(c.slots)-1)]
}

// page returns a page, nil when it cannot be read.
func (c *pageCache) page(page uint64) []byte {
	s := c.slot(page)
	if s.data == nil || s.page != page {
		if s.data == nil {
			s.data = make([]byte, cacheSize)
		}
		s.page = page
		s.ok = c.r.bytes(page<<cacheShift, s.data) == nil
	}
	if !s.ok {
		return nil
	}
	return s.data
}

// read fills buf from addr, and reports whether it could.
func (c *pageCache) read(addr uint64, buf []byte) bool {
	for len(buf) > 0 {
		p := c.page(addr >> cacheShift)
		if p == nil {
			return false
		}
		n := copy(buf, p[addr&(cacheSize-1):])
		buf, addr = buf[n:], addr+uint64(n)
	}
	return true
}

// word reads 8 bytes.
func (c *pageCache) word(addr uint64) (uint64, bool) {
	var b [8]byte
	ok := c.read(addr, b[:])
	return binary.LittleEndian.Uint64(b[:]), ok
}

// prefetch reads those of the pages that are not there yet, in few system calls. It
// takes as many as fit without one taking the place of another.
func (c *pageCache) prefetch(pages []uint64) error {
	c.used, c.index = c.used[:0], c.index[:0]
	for _, p := range pages {
		i := int(p & uint64(len(c.slots)-1))
		s := &c.slots[i]
		if s.data != nil && s.page == p {
			continue
		}
		if s.data == nil {
			s.data = make([]byte, cacheSize)
		}
		s.page, s.ok = p, true
		c.used = append(c.used, procmem.Request{Addr: p << cacheShift, Buf: s.data})
		c.index = append(c.index, i)
	}
	return c.r.batch(c.used, func(i int) { c.slots[c.index[i]].ok = false })
}
