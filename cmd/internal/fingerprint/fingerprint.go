// Package fingerprint recognises a function of the Go runtime by its machine
// code, and takes from it the addresses of the globals that it refers to.
//
// The runtime's code is compiled the same way into every program that a
// toolchain builds; only what is relative to the program counter and leaves the
// function differs from link to link. With those fields masked, equal bytes mean
// the same function of the same toolchain, and so the same references: the n-th
// one of the probe names the symbol that the n-th one of the target points to.
//
// The package decodes bytes. It reads no files and no processes, and decides
// nothing about which functions to trust.
package fingerprint

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// MaxCode bounds the code of one function, in bytes.
const MaxCode = 1 << 16

// ErrUndecodable says that the bytes are not code that this package knows how
// to mask. The function cannot serve as an anchor; nothing else is wrong.
var ErrUndecodable = errors.New("undecodable code")

// A Ref is one reference that leaves the function.
type Ref struct {
	Off  uint32 // offset of the instruction within the function
	Addr uint64 // address it refers to
	Code bool   // a call or a jump rather than data
}

// A Print is the fingerprint of one function: a hash of its masked code, and its references in order.
type Print struct {
	Hash uint64
	Refs []Ref
}

// Of takes the fingerprint of code, which lies at address pc.
// goarch is "amd64" or "arm64".
func Of(goarch string, code []byte, pc uint64) (Print, error) {
	if len(code) == 0 || len(code) > MaxCode {
		return Print{}, fmt.Errorf("%w: %d bytes", ErrUndecodable, len(code))
	}
	masked := append([]byte(nil), code...)
	var refs []Ref
	var err error
	switch goarch {
	case "amd64":
		refs, err = maskAMD64(masked, code, pc)
	case "arm64":
		refs, err = maskARM64(masked, code, pc)
	default:
		err = fmt.Errorf("%w: GOARCH %q", ErrUndecodable, goarch)
	}
	if err != nil {
		return Print{}, err
	}
	sum := sha256.Sum256(masked)
	return Print{Hash: binary.BigEndian.Uint64(sum[:8]), Refs: refs}, nil
}

func maskAMD64(masked, code []byte, pc uint64) ([]Ref, error) {
	var refs []Ref
	for off := 0; off < len(code); {
		inst, err := x86asm.Decode(code[off:], 64)
		if err != nil || inst.Len == 0 {
			return nil, fmt.Errorf("%w at +%d", ErrUndecodable, off)
		}
		if inst.PCRel != 0 {
			at := off + inst.PCRelOff
			var disp int64
			switch inst.PCRel {
			case 1:
				disp = int64(int8(code[at]))
			case 4:
				disp = int64(int32(binary.LittleEndian.Uint32(code[at:])))
			default:
				return nil, fmt.Errorf("%w at +%d: %d-byte displacement", ErrUndecodable, off, inst.PCRel)
			}
			dest := pc + uint64(off+inst.Len) + uint64(disp)
			if dest < pc || dest >= pc+uint64(len(code)) {
				clear(masked[at : at+inst.PCRel])
				_, jump := inst.Args[0].(x86asm.Rel)
				refs = append(refs, Ref{Off: uint32(off), Addr: dest, Code: jump})
			}
		}
		off += inst.Len
	}
	return refs, nil
}

// maskARM64 needs no decoder: the Go toolchain reaches data by ADRP followed at
// once by an ADD or a load or store of the same register with a 12-bit offset
// (cmd/link relocations R_ADDRARM64 and R_ARM64_PCREL_LDST*), and code by B and BL.
func maskARM64(masked, code []byte, pc uint64) ([]Ref, error) {
	if len(code)%4 != 0 {
		return nil, fmt.Errorf("%w: length %d", ErrUndecodable, len(code))
	}
	le := binary.LittleEndian
	var refs []Ref
	for off := 0; off < len(code); off += 4 {
		w := le.Uint32(code[off:])
		at := pc + uint64(off)
		switch {
		case w&0x7c000000 == 0x14000000: // B, BL
			dest := at + uint64(int64(int32(w<<6)>>6)*4)
			if dest < pc || dest >= pc+uint64(len(code)) {
				le.PutUint32(masked[off:], w&0xfc000000)
				refs = append(refs, Ref{Off: uint32(off), Addr: dest, Code: true})
			}
		case w&0x9f000000 == 0x90000000: // ADRP
			imm := int64(int32((w>>5&0x7ffff)<<2|w>>29&3)<<11>>11) << 12
			page := at&^0xfff + uint64(imm)
			le.PutUint32(masked[off:], w&0x9f00001f)
			if off+8 > len(code) {
				continue
			}
			next := le.Uint32(code[off+4:])
			lo, ok := pageOffset(next, w&31)
			if !ok {
				continue
			}
			off += 4
			le.PutUint32(masked[off:], next&^uint32(0xfff<<10))
			refs = append(refs, Ref{Off: uint32(off - 4), Addr: page + lo})
		}
	}
	return refs, nil
}

// pageOffset returns the low 12 bits of the address that inst adds to register
// base: ADD (immediate), or a load or store with an unsigned offset.
func pageOffset(inst, base uint32) (uint64, bool) {
	if inst>>5&31 != base {
		return 0, false
	}
	imm := uint64(inst >> 10 & 0xfff)
	switch {
	case inst&0xffc00000 == 0x91000000: // ADD Xd, Xn, #imm
		return imm, true
	case inst&0x3b000000 == 0x39000000: // LDR/STR (unsigned offset), integer or SIMD
		scale := inst >> 30
		if inst&(1<<26) != 0 && inst&(1<<23) != 0 { // 128-bit SIMD
			scale = 4
		}
		return imm << scale, true
	}
	return 0, false
}
