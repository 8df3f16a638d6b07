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

// A Field is a part of an instruction that says, relative to the program counter,
// where something outside of the function is.
type Field struct {
	Off  uint32 // offset within the function: of the displacement (amd64), of the instruction (arm64)
	Next uint32 // offset of the instruction that follows
}

// A Ref is one reference that leaves the function.
type Ref struct {
	Field
	Addr uint64 // address it refers to
	Code bool   // a call or a jump rather than data
}

// A Print is the fingerprint of one function: a hash of its masked code, and its references in order.
type Print struct {
	Hash uint64
	Refs []Ref
}

// Of takes the fingerprint of code, which lies at address pc: it finds the
// fields that are to be masked by decoding every instruction.
// goarch is "amd64" or "arm64".
func Of(goarch string, code []byte, pc uint64) (Print, error) {
	if len(code) == 0 || len(code) > MaxCode {
		return Print{}, fmt.Errorf("%w: %d bytes", ErrUndecodable, len(code))
	}
	var fields []Field
	var isCode []bool
	var err error
	switch goarch {
	case "amd64":
		fields, isCode, err = fieldsAMD64(code)
	case "arm64":
		fields, isCode, err = fieldsARM64(code)
	default:
		err = fmt.Errorf("%w: GOARCH %q", ErrUndecodable, goarch)
	}
	if err != nil {
		return Print{}, err
	}
	p, err := At(goarch, code, pc, fields)
	for i := range p.Refs {
		p.Refs[i].Code = isCode[i]
	}
	return p, err
}

// At takes the fingerprint of code with the fields masked that are known from
// another build of the same function. It decodes nothing else, and so is fast:
// equal hashes say that the rest is equal to the bit. Code of the Refs is not set.
func At(goarch string, code []byte, pc uint64, fields []Field) (Print, error) {
	masked := append([]byte(nil), code...)
	p := Print{Refs: make([]Ref, len(fields))}
	for i, f := range fields {
		var addr uint64
		ok := false
		switch goarch {
		case "amd64":
			addr, ok = maskAMD64(masked, code, pc, f)
		case "arm64":
			addr, ok = maskARM64(masked, code, pc, f)
		}
		if !ok {
			return Print{}, fmt.Errorf("%w at +%d", ErrUndecodable, f.Off)
		}
		p.Refs[i] = Ref{Field: f, Addr: addr}
	}
	sum := sha256.Sum256(masked)
	p.Hash = binary.BigEndian.Uint64(sum[:8])
	return p, nil
}

// fieldsAMD64 finds the 32-bit displacements that lead out of the function.
func fieldsAMD64(code []byte) (fields []Field, isCode []bool, err error) {
	for off := 0; off < len(code); {
		inst, err := x86asm.Decode(code[off:], 64)
		if err != nil || inst.Len == 0 {
			return nil, nil, fmt.Errorf("%w at +%d", ErrUndecodable, off)
		}
		next := off + inst.Len
		switch inst.PCRel {
		case 0, 1: // a jump of one byte stays within every function that the linker lays out
		case 4:
			at := off + inst.PCRelOff
			if dest := next + int(int32(binary.LittleEndian.Uint32(code[at:]))); dest < 0 || dest >= len(code) {
				_, jump := inst.Args[0].(x86asm.Rel)
				fields, isCode = append(fields, Field{uint32(at), uint32(next)}), append(isCode, jump)
			}
		default:
			return nil, nil, fmt.Errorf("%w at +%d: %d-byte displacement", ErrUndecodable, off, inst.PCRel)
		}
		off = next
	}
	return fields, isCode, nil
}

func maskAMD64(masked, code []byte, pc uint64, f Field) (uint64, bool) {
	if uint64(f.Off)+4 > uint64(len(code)) {
		return 0, false
	}
	disp := int32(binary.LittleEndian.Uint32(code[f.Off:]))
	clear(masked[f.Off : f.Off+4])
	return pc + uint64(f.Next) + uint64(int64(disp)), true
}

// fieldsARM64 needs no decoder: the Go toolchain reaches data by ADRP followed at
// once by an ADD or a load or store of the same register with a 12-bit offset
// (cmd/link relocations R_ADDRARM64 and R_ARM64_PCREL_LDST*), and code by B and BL.
func fieldsARM64(code []byte) (fields []Field, isCode []bool, err error) {
	if len(code)%4 != 0 {
		return nil, nil, fmt.Errorf("%w: length %d", ErrUndecodable, len(code))
	}
	for off := 0; off < len(code); off += 4 {
		w := binary.LittleEndian.Uint32(code[off:])
		switch {
		case isBranch(w):
			if dest := off + int(int32(w<<6)>>6)*4; dest < 0 || dest >= len(code) {
				fields, isCode = append(fields, Field{uint32(off), uint32(off + 4)}), append(isCode, true)
			}
		case isADRP(w) && off+8 <= len(code):
			if _, ok := pageOffset(binary.LittleEndian.Uint32(code[off+4:]), w&31); ok {
				fields, isCode = append(fields, Field{uint32(off), uint32(off + 8)}), append(isCode, false)
				off += 4
				continue
			}
			// Half of a pair that the compiler tore apart: its page moves with the link.
			return nil, nil, fmt.Errorf("%w at +%d: ADRP without its pair", ErrUndecodable, off)
		}
	}
	return fields, isCode, nil
}

func isBranch(w uint32) bool { return w&0x7c000000 == 0x14000000 } // B, BL
func isADRP(w uint32) bool   { return w&0x9f000000 == 0x90000000 }

func maskARM64(masked, code []byte, pc uint64, f Field) (uint64, bool) {
	le := binary.LittleEndian
	if f.Off%4 != 0 || uint64(f.Off)+4 > uint64(len(code)) {
		return 0, false
	}
	w, at := le.Uint32(code[f.Off:]), pc+uint64(f.Off)
	if isBranch(w) {
		le.PutUint32(masked[f.Off:], w&0xfc000000)
		return at + uint64(int64(int32(w<<6)>>6)*4), true
	}
	if !isADRP(w) || uint64(f.Off)+8 > uint64(len(code)) {
		return 0, false
	}
	next := le.Uint32(code[f.Off+4:])
	low, ok := pageOffset(next, w&31)
	if !ok {
		return 0, false
	}
	le.PutUint32(masked[f.Off:], w&0x9f00001f)
	le.PutUint32(masked[f.Off+4:], next&^uint32(0xfff<<10))
	page := int64(int32((w>>5&0x7ffff)<<2|w>>29&3)<<11>>11) << 12
	return at&^0xfff + uint64(page) + low, true
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
