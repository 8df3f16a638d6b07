package pclntab

import (
	"errors"
	"fmt"
	"io"
)

const (
	pageBits = 12
	pageSize = 1 << pageBits
	// maxPages bounds what a table keeps in memory (2 MiB): the tables of large
	// programs are hundreds of megabytes, and lookups touch few of their pages.
	maxPages = 512
	// maxString is the longest name or path that is read. Names of instantiated
	// generic functions can be several kilobytes.
	maxString = 64 << 10
)

var errOutOfTable = errors.New("offset outside of the table")

// A pager is a bounded read cache over a ReaderAt.
type pager struct {
	src     io.ReaderAt
	size    int64 // upper bound of what may be read
	pages   map[int64][]byte
	scratch []byte
	last    int64 // page of lastBuf, -1 for none
	lastBuf []byte
}

func newPager(src io.ReaderAt, size int64) *pager {
	return &pager{src: src, size: size, pages: make(map[int64][]byte), last: -1}
}

// page returns page n, shorter than pageSize when it is the last one.
func (p *pager) page(n int64) ([]byte, error) {
	if n == p.last {
		return p.lastBuf, nil
	}
	b, ok := p.pages[n]
	if !ok {
		start := n << pageBits
		if n < 0 || start >= p.size {
			return nil, errOutOfTable
		}
		want := min(p.size-start, pageSize)
		b = make([]byte, want)
		got, err := p.src.ReadAt(b, start)
		if int64(got) < want {
			// size may be an upper bound: what is there can be used.
			if got <= 0 || !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("reading the table at %#x: %w", start, err)
			}
			b = b[:got]
		}
		if len(p.pages) >= maxPages {
			clear(p.pages)
		}
		p.pages[n] = b
	}
	p.last, p.lastBuf = n, b
	return b, nil
}

// forget drops all pages.
func (p *pager) forget() {
	p.pages, p.scratch, p.last, p.lastBuf = make(map[int64][]byte), nil, -1, nil
}

// bytes returns n bytes at off, valid until the next call.
func (p *pager) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off > p.size-int64(n) {
		return nil, errOutOfTable
	}
	pg, err := p.page(off >> pageBits)
	if err != nil {
		return nil, err
	}
	in := int(off & (pageSize - 1))
	if in+n <= len(pg) {
		return pg[in : in+n], nil
	}
	if cap(p.scratch) < n {
		p.scratch = make([]byte, n)
	}
	out := p.scratch[:0]
	for len(out) < n {
		pg, err := p.page(off >> pageBits)
		if err != nil {
			return nil, err
		}
		in := int(off & (pageSize - 1))
		if in >= len(pg) {
			return nil, io.ErrUnexpectedEOF
		}
		take := min(len(pg)-in, n-len(out))
		out = append(out, pg[in:in+take]...)
		off += int64(take)
	}
	return out, nil
}

// cstring returns the NUL-terminated string at off, which must end before end.
func (p *pager) cstring(off, end int64) (string, error) {
	var out []byte
	for off < end && len(out) < maxString {
		pg, err := p.page(off >> pageBits)
		if err != nil {
			return "", err
		}
		in := int(off & (pageSize - 1))
		if in >= len(pg) {
			return "", io.ErrUnexpectedEOF
		}
		chunk := pg[in:]
		for i, c := range chunk {
			if c == 0 {
				return string(append(out, chunk[:i]...)), nil
			}
		}
		out = append(out, chunk...)
		off += int64(len(chunk))
	}
	return "", errors.New("string without an end")
}

// A cursor reads bytes one after another.
type cursor struct {
	p   *pager
	off int64
	buf []byte
}

func (c *cursor) next() (byte, error) {
	if len(c.buf) == 0 {
		pg, err := c.p.page(c.off >> pageBits)
		if err != nil {
			return 0, err
		}
		in := int(c.off & (pageSize - 1))
		if in >= len(pg) {
			return 0, io.ErrUnexpectedEOF
		}
		c.buf = pg[in:]
	}
	b := c.buf[0]
	c.buf = c.buf[1:]
	c.off++
	return b, nil
}

func (c *cursor) uvarint() (uint32, error) {
	var v uint32
	for shift := uint(0); ; shift += 7 {
		b, err := c.next()
		if err != nil {
			return 0, err
		}
		if shift < 32 {
			v |= uint32(b&0x7f) << shift
		}
		if b&0x80 == 0 {
			return v, nil
		}
		if shift >= 63 {
			return 0, errors.New("varint too long")
		}
	}
}
