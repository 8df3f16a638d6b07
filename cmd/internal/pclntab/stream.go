package pclntab

import (
	"bytes"
	"errors"
	"io"
)

// A stream reads forward in large pieces. Records of functions follow each
// other in the order of the functab; a table where they do not is read all the
// same, with at most maxSeeks steps back.
type stream struct {
	src   io.ReaderAt
	size  int64
	start int64
	buf   []byte
	store []byte
	seeks int
}

const maxSeeks = 1 << 12

func newStream(src io.ReaderAt, size int64) *stream {
	return &stream{src: src, size: size}
}

// bytes returns n bytes at off, valid until the next call.
func (s *stream) bytes(off int64, n int) ([]byte, error) {
	if in := off - s.start; in >= 0 && in+int64(n) <= int64(len(s.buf)) {
		return s.buf[in : in+int64(n)], nil
	}
	if off < 0 || off > s.size-int64(n) {
		return nil, errOutOfTable
	}
	if off < s.start || off > s.start+int64(len(s.buf)) {
		if s.seeks++; s.seeks > maxSeeks {
			return nil, errors.New("function records are in disorder")
		}
	}
	if s.store == nil {
		s.store = make([]byte, min(chunkSize, s.size))
	}
	want := s.store[:min(int64(len(s.store)), s.size-off)]
	got, err := s.src.ReadAt(want, off)
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	s.start, s.buf = off, want[:got]
	return s.buf[:n], nil
}

func indexZero(b []byte) int { return bytes.IndexByte(b, 0) }
