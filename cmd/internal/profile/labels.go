package profile

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// Bounds of labels.
const (
	maxLabelSets  = 1 << 14 // distinct sets read for one snapshot
	maxLabels     = 256     // of one goroutine
	maxLabelBytes = 4 << 10 // of one key or value
	maxMapShift   = 8       // 2^8 buckets
)

// A labelReader reads goroutines' pprof labels, what g.labels points to.
type labelReader struct {
	mem   procmem.Memory
	asMap bool // a map[string]string, until Go 1.23; a sorted list since (runtime/pprof/label.go)
	sets  int
	buf   []byte
}

func (r *labelReader) reset() { r.sets = 0 }

// read returns the labels at p sorted by key, false if they cannot be read.
func (r *labelReader) read(p uint64) ([]Label, bool) {
	if p == 0 {
		return nil, true
	}
	if r.sets++; r.sets > maxLabelSets {
		return nil, false
	}
	var (
		out []Label
		ok  bool
	)
	if r.asMap {
		out, ok = r.readMap(p)
	} else {
		out, ok = r.readList(p)
	}
	slices.SortStableFunc(out, func(a, b Label) int { return cmp.Compare(a.Key, b.Key) })
	return out, ok
}

func (r *labelReader) words(p uint64, dst []uint64) bool {
	r.buf = grow(r.buf, 8*len(dst))
	if r.mem.Read(p, r.buf) != nil {
		return false
	}
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint64(r.buf[8*i:])
	}
	return true
}

func (r *labelReader) str(p, n uint64) (string, bool) {
	if n == 0 {
		return "", true
	}
	if n > maxLabelBytes {
		return "", false
	}
	r.buf = grow(r.buf, int(n))
	if r.mem.Read(p, r.buf) != nil {
		return "", false
	}
	return string(r.buf), true
}

// readList reads a struct whose first field is a slice of {key, value}.
func (r *labelReader) readList(p uint64) ([]Label, bool) {
	var head [2]uint64
	if !r.words(p, head[:]) || head[1] > maxLabels {
		return nil, false
	}
	words := make([]uint64, 4*head[1])
	if !r.words(head[0], words) {
		return nil, false
	}
	out := make([]Label, 0, head[1])
	for ; len(words) > 0; words = words[4:] {
		k, ok := r.str(words[0], words[1])
		if !ok {
			return nil, false
		}
		v, ok := r.str(words[2], words[3])
		if !ok {
			return nil, false
		}
		out = append(out, Label{k, v})
	}
	return out, true
}

// readMap reads a pointer to a map[string]string (runtime/map.go until Go 1.23).
func (r *labelReader) readMap(p uint64) ([]Label, bool) {
	var w [5]uint64 // hmap: count, {flags, B, noverflow, hash0}, buckets, oldbuckets
	if !r.words(p, w[:1]) || w[0] == 0 || !r.words(w[0], w[:4]) {
		return nil, false
	}
	count, shift := w[0], uint(w[1]>>8&0xff)
	sameSize := w[1]&8 != 0
	if count > maxLabels || shift > maxMapShift {
		return nil, false
	}
	var out []Label
	left := 1 << (maxMapShift + 2)
	if w[2] != 0 && !r.buckets(w[2], 1<<shift, &out, &left) {
		return nil, false
	}
	if w[3] != 0 {
		// A map that grows: what was not moved yet is in the old buckets.
		n := 1 << shift
		if !sameSize && shift > 0 {
			n /= 2
		}
		if !r.buckets(w[3], n, &out, &left) {
			return nil, false
		}
	}
	return out, uint64(len(out)) == count
}

// buckets reads n buckets of a map[string]string and their overflow buckets:
// 8 bytes of tophash, 8 keys, 8 values, a pointer.
func (r *labelReader) buckets(p uint64, n int, out *[]Label, left *int) bool {
	const (
		size       = 8 + 8*16 + 8*16 + 8
		minTopHash = 5
	)
	var w [size / 8]uint64
	for i := range n {
		for b := p + uint64(i)*size; b != 0; b = w[33] {
			if *left--; *left < 0 || !r.words(b, w[:]) {
				return false
			}
			for s := range 8 {
				if byte(w[0]>>(8*s)) < minTopHash {
					continue
				}
				k, ok := r.str(w[1+2*s], w[2+2*s])
				if !ok {
					return false
				}
				v, ok := r.str(w[17+2*s], w[18+2*s])
				if !ok || len(*out) >= maxLabels {
					return false
				}
				*out = append(*out, Label{k, v})
			}
		}
	}
	return true
}

// labelKey returns a string that is equal for equal labels only.
func labelKey(labels []Label) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	var n [8]byte
	for _, l := range labels {
		for _, s := range [2]string{l.Key, l.Value} {
			binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
			b.Write(n[:])
			b.WriteString(s)
		}
	}
	return b.String()
}
