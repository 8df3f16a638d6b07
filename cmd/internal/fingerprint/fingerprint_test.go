package fingerprint_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/fingerprint"
)

// lea is LEAQ disp(IP), AX; MOVQ 8(AX), CX; CALL rel; JMP -n (within); RET.
func amd64(disp, call int32, inner int8) []byte {
	b := []byte{0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x8b, 0x48, 0x08, 0xe8, 0, 0, 0, 0, 0xeb, byte(inner), 0xc3}
	binary.LittleEndian.PutUint32(b[3:], uint32(disp))
	binary.LittleEndian.PutUint32(b[12:], uint32(call))
	return b
}

func TestAMD64(t *testing.T) {
	a, err := fingerprint.Of("amd64", amd64(0x1000, 0x2000, -5), 0x400000)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fingerprint.Of("amd64", amd64(0x5000, 0x9000, -5), 0x700000)
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash != b.Hash {
		t.Error("the same code linked elsewhere has another fingerprint")
	}
	if len(a.Refs) != 2 || a.Refs[0].Addr != 0x401007 || a.Refs[0].Code || a.Refs[1].Addr != 0x402010 || !a.Refs[1].Code {
		t.Errorf("refs %+v", a.Refs)
	}
	if b.Refs[0].Addr != 0x705007 {
		t.Errorf("refs %+v", b.Refs)
	}
	// A jump within the function is part of what it is.
	c, err := fingerprint.Of("amd64", amd64(0x1000, 0x2000, -12), 0x400000)
	if err != nil {
		t.Fatal(err)
	}
	if c.Hash == a.Hash {
		t.Error("other code has the same fingerprint")
	}
}

// arm64 is ADRP x27, page; LDR x0, [x27, #off]; ADRP x27; ADD x1, x27, #off; BL; RET.
func arm64(pc, load, add, call uint64) []byte {
	adrp := func(at, to uint64) uint32 {
		imm := uint32((to>>12)-(at>>12)) & 0x1fffff
		return 0x90000000 | imm&3<<29 | imm>>2<<5 | 27
	}
	words := []uint32{
		adrp(pc, load), 0xf9400000 | uint32(load&0xfff)>>3<<10 | 27<<5,
		adrp(pc+8, add), 0x91000000 | uint32(add&0xfff)<<10 | 27<<5 | 1,
		0x94000000 | uint32((call-(pc+16))>>2)&0x3ffffff, 0xd65f03c0,
	}
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestARM64(t *testing.T) {
	a, err := fingerprint.Of("arm64", arm64(0x11000, 0x234568, 0x1fab4, 0x90000), 0x11000)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fingerprint.Of("arm64", arm64(0x77000, 0x434560, 0x4f000, 0x9000), 0x77000)
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash != b.Hash {
		t.Error("the same code linked elsewhere has another fingerprint")
	}
	for i, want := range []uint64{0x234568, 0x1fab4, 0x90000} {
		if len(a.Refs) != 3 || a.Refs[i].Addr != want {
			t.Fatalf("refs %+v, want %#x at %d", a.Refs, want, i)
		}
	}
	if b.Refs[2].Addr != 0x9000 { // backwards
		t.Errorf("refs %+v", b.Refs)
	}
}

func TestUndecodable(t *testing.T) {
	for _, c := range []struct {
		goarch string
		code   []byte
	}{{"amd64", nil}, {"amd64", []byte{0x06}}, {"arm64", []byte{1, 2, 3}}, {"riscv64", []byte{0, 0, 0, 0}}, {"amd64", make([]byte, fingerprint.MaxCode+1)}} {
		if _, err := fingerprint.Of(c.goarch, c.code, 0); !errors.Is(err, fingerprint.ErrUndecodable) {
			t.Errorf("%s % x: %v", c.goarch, c.code[:min(len(c.code), 8)], err)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add(true, amd64(1, 2, 3), uint64(0x400000))
	f.Add(false, arm64(0x1000, 2, 3, 4), uint64(0x1000))
	f.Fuzz(func(t *testing.T, x86 bool, code []byte, pc uint64) {
		goarch := "arm64"
		if x86 {
			goarch = "amd64"
		}
		p, err := fingerprint.Of(goarch, code, pc)
		if err != nil {
			return
		}
		if len(p.Refs) > len(code) {
			t.Errorf("%d references in %d bytes", len(p.Refs), len(code))
		}
	})
}

func BenchmarkAMD64(b *testing.B) {
	var code []byte
	for range 40 {
		code = append(code, amd64(0x1000, 0x2000, -5)...)
	}
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		if _, err := fingerprint.Of("amd64", code, 0x400000); err != nil {
			b.Fatal(err)
		}
	}
}
