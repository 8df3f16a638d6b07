package procmem

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
)

// An Image is memory captured from a process: exactly the bytes that were added
// to it, and nothing between them. It stands in for a live [Process] in tests.
// The zero value is not usable; see [NewImage]. It is safe for concurrent use.
type Image struct {
	mu    sync.RWMutex
	pages map[uint64]*imagePage // by address / imagePageSize
}

const (
	imagePageSize = 1024
	// maxImagePages bounds what ReadImage builds, about 290 MB.
	maxImagePages = 1 << 18
	imageMagic    = "heapwright memory image 1\n"
)

type imagePage struct {
	data  [imagePageSize]byte
	valid [imagePageSize / 64]uint64 // a bit for each byte that was captured
}

// NewImage returns an empty image.
func NewImage() *Image { return &Image{pages: make(map[uint64]*imagePage)} }

// Add puts a copy of data at addr, over what was there. Bytes that would come
// after the last address are dropped.
func (im *Image) Add(addr uint64, data []byte) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if n := -addr; addr != 0 && uint64(len(data)) > n {
		data = data[:n]
	}
	for len(data) > 0 {
		p := im.pages[addr/imagePageSize]
		if p == nil {
			p = new(imagePage)
			im.pages[addr/imagePageSize] = p
		}
		off := int(addr % imagePageSize)
		n := copy(p.data[off:], data)
		for i := off; i < off+n; {
			mask, step := span(i, off+n)
			p.valid[i/64] |= mask
			i += step
		}
		addr += uint64(n)
		data = data[n:]
	}
}

// Size is how many bytes the image holds.
func (im *Image) Size() int64 {
	im.mu.RLock()
	defer im.mu.RUnlock()
	var n int64
	for _, p := range im.pages {
		for _, w := range p.valid {
			n += int64(bits.OnesCount64(w))
		}
	}
	return n
}

// Read implements [Memory]: every byte of the range must have been captured.
func (im *Image) Read(addr uint64, buf []byte) error {
	im.mu.RLock()
	defer im.mu.RUnlock()
	if len(buf) == 0 {
		return nil
	}
	if addr+uint64(len(buf))-1 < addr {
		return &Error{Op: "read", Addr: addr, Len: len(buf), Err: ErrUnmapped}
	}
	for done := 0; done < len(buf); {
		at := addr + uint64(done)
		p := im.pages[at/imagePageSize]
		off := int(at % imagePageSize)
		n := min(imagePageSize-off, len(buf)-done)
		if p == nil || p.run(off, n) != n {
			return &Error{Op: "read", Addr: addr, Len: len(buf), Err: ErrUnmapped,
				Hint: "this part of the process was not captured"}
		}
		copy(buf[done:], p.data[off:off+n])
		done += n
	}
	return nil
}

// run returns how many bytes from off, at most n, are captured without a gap.
func (p *imagePage) run(off, n int) int {
	for i := off; i < off+n; {
		mask, step := span(i, off+n)
		if missing := mask &^ p.valid[i/64]; missing != 0 {
			return i - i%64 + bits.TrailingZeros64(missing) - off
		}
		i += step
	}
	return n
}

// span returns the bits from i on, before end, that are in the word of i, and
// how many they are.
func span(i, end int) (mask uint64, n int) {
	n = min(64-i%64, end-i)
	return ^uint64(0) >> (64 - n) << (i % 64), n
}

// ReadBatch implements [Memory].
func (im *Image) ReadBatch(reqs []Request) (int, error) {
	for i, r := range reqs {
		if err := im.Read(r.Addr, r.Buf); err != nil {
			return i, err
		}
	}
	return len(reqs), nil
}

// WriteTo writes the image, compressed, for [ReadImage]. The same content gives
// the same bytes. It returns the compressed size.
//
// The format, inside gzip: a magic line, then for each contiguous run the
// distance from the end of the run before and the length, both as uvarint, and
// the bytes; a length of zero ends the file.
func (im *Image) WriteTo(w io.Writer) (int64, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	cw := &countingWriter{w: w}
	zw, err := gzip.NewWriterLevel(cw, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	bw := bufio.NewWriter(zw)
	bw.WriteString(imageMagic)

	keys := make([]uint64, 0, len(im.pages))
	for k := range im.pages {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var run []byte
	var start, end uint64 // of the run; end of the last run written
	flush := func() {
		if len(run) == 0 {
			return
		}
		var head [2 * binary.MaxVarintLen64]byte
		n := binary.PutUvarint(head[:], start-end)
		n += binary.PutUvarint(head[n:], uint64(len(run)))
		bw.Write(head[:n])
		bw.Write(run)
		end = start + uint64(len(run))
		run = run[:0]
	}
	for _, k := range keys {
		p := im.pages[k]
		for off := 0; off < imagePageSize; {
			n := p.run(off, imagePageSize-off)
			if n == 0 {
				off++
				continue
			}
			addr := k*imagePageSize + uint64(off)
			if len(run) == 0 || start+uint64(len(run)) != addr {
				flush()
				start = addr
			}
			run = append(run, p.data[off:off+n]...)
			off += n
		}
	}
	flush()
	bw.Write([]byte{0, 0})
	if err := bw.Flush(); err != nil {
		return cw.n, fmt.Errorf("writing memory image: %w", err)
	}
	if err := zw.Close(); err != nil {
		return cw.n, fmt.Errorf("writing memory image: %w", err)
	}
	return cw.n, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ReadImage reads what [Image.WriteTo] wrote. What it builds is bounded: a file
// that asks for more than 262,144 pages of 1 KiB fails with [ErrTooLarge].
func ReadImage(r io.Reader) (*Image, error) {
	im, err := readImage(r, maxImagePages)
	if err != nil {
		return nil, fmt.Errorf("reading memory image: %w", err)
	}
	return im, nil
}

func readImage(r io.Reader, maxPages int) (*Image, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	br := bufio.NewReader(zr)
	magic := make([]byte, len(imageMagic))
	if _, err := io.ReadFull(br, magic); err != nil {
		return nil, noEOF(err)
	}
	if !bytes.Equal(magic, []byte(imageMagic)) {
		return nil, errors.New("not a memory image, or one of another version")
	}
	im := NewImage()
	var buf [imagePageSize]byte
	var addr uint64
	for {
		gap, err := binary.ReadUvarint(br)
		if err != nil {
			return nil, noEOF(err)
		}
		n, err := binary.ReadUvarint(br)
		if err != nil {
			return nil, noEOF(err)
		}
		if n == 0 {
			break
		}
		if addr+gap < addr || addr+gap+n-1 < addr+gap {
			return nil, errors.New("runs are out of order")
		}
		addr += gap
		for n > 0 {
			part := buf[:min(n, imagePageSize)]
			if _, err := io.ReadFull(br, part); err != nil {
				return nil, noEOF(err)
			}
			im.Add(addr, part)
			if len(im.pages) > maxPages {
				return nil, ErrTooLarge
			}
			addr += uint64(len(part))
			n -= uint64(len(part))
		}
	}
	// Reading to the end makes gzip compare its checksum.
	if _, err := br.ReadByte(); err == nil {
		return nil, errors.New("data after the end of the image")
	} else if err != io.EOF {
		return nil, err
	}
	return im, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A Recorder is a Memory that keeps a copy of all that is read through it, to
// make an [Image] of just those parts of a live process that a reader looks at.
// What is read twice is kept as it was the last time.
type Recorder struct {
	Memory        // what to read from
	Image  *Image // where to keep it
}

// Read implements [Memory].
func (r Recorder) Read(addr uint64, buf []byte) error {
	err := r.Memory.Read(addr, buf)
	if err == nil {
		r.Image.Add(addr, buf)
	}
	return err
}

// ReadBatch implements [Memory].
func (r Recorder) ReadBatch(reqs []Request) (int, error) {
	n, err := r.Memory.ReadBatch(reqs)
	for _, req := range reqs[:n] {
		r.Image.Add(req.Addr, req.Buf)
	}
	return n, err
}
