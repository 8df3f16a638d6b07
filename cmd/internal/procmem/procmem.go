// Package procmem reads the memory of another process, and nothing else: it
// cannot write, stop or signal one.
package procmem

// A Memory is a read-only address space. Implementations: a live process
// (process_vm_readv) and an [Image] captured from one, for tests.
//
// Addresses come from the target and may be anything; a read outside of what is
// mapped is an error, never a panic, and never a partial success.
type Memory interface {
	// Read fills buf from addr.
	Read(addr uint64, buf []byte) error
	// ReadBatch fills every request in as few system calls as it can. It returns
	// how many leading requests were filled; err is about the first that was not.
	ReadBatch(reqs []Request) (int, error)
}

// A Request is one range of a batch.
type Request struct {
	Addr uint64
	Buf  []byte
}
