package pclntab

import (
	"io"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// At returns a view of mem that starts at address base and is at most size
// bytes long, as [Open] and [Options] want it: for a table or function data in
// the memory of a process.
func At(mem procmem.Memory, base, size uint64) io.ReaderAt {
	return &memoryAt{mem, base, size}
}

type memoryAt struct {
	mem        procmem.Memory
	base, size uint64
}

func (m *memoryAt) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= m.size {
		return 0, io.EOF
	}
	short := false
	if left := m.size - uint64(off); uint64(len(b)) > left {
		b, short = b[:left], true
	}
	addr := m.base + uint64(off)
	n := len(b)
	err := m.mem.Read(addr, b)
	if err != nil {
		// size may reach beyond what is mapped: take the rest of addr's page.
		n = min(len(b), pageSize-int(addr&(pageSize-1)))
		if n == len(b) {
			return 0, err
		}
		if err := m.mem.Read(addr, b[:n]); err != nil {
			return 0, err
		}
		short = true
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}
