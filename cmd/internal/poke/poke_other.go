//go:build !linux

package poke

import "github.com/heapwright/heapwright/cmd/internal/procmem"

// Set fails with [ErrUnsupported].
func Set(p *procmem.Process, w Word, old, value uint64) error { return ErrUnsupported }

// Get fails with [ErrUnsupported].
func Get(p *procmem.Process, w Word) (uint64, error) { return 0, ErrUnsupported }
