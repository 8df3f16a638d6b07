package procmem

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestImage(t *testing.T) {
	im := NewImage()
	im.Add(1000, bytes.Repeat([]byte{1}, 100)) // crosses a page
	im.Add(1100, bytes.Repeat([]byte{2}, 50))  // adjoins
	im.Add(1090, bytes.Repeat([]byte{3}, 20))  // overlaps both
	im.Add(5000, make([]byte, 3000))
	im.Add(math.MaxUint64-1, []byte{7, 8, 9}) // the last byte has no address
	im.Add(123, nil)
	if got := im.Size(); got != 3152 {
		t.Errorf("holds %d bytes, want 3152", got)
	}
	check := func(t *testing.T, m Memory) {
		for _, tt := range []struct {
			addr uint64
			n    int
			ok   bool
		}{
			{1000, 150, true}, {999, 1, false}, {999, 2, false}, {1149, 1, true}, {1149, 2, false},
			{5000, 3000, true}, {5000, 3001, false}, {7999, 1, true}, {8000, 1, false},
			{math.MaxUint64 - 1, 2, true}, {math.MaxUint64, 2, false}, {0, 1, false}, {0, 0, true},
		} {
			err := m.Read(tt.addr, make([]byte, tt.n))
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrUnmapped)) {
				t.Errorf("reading %d bytes at %d: %v, want ok=%t", tt.n, tt.addr, err, tt.ok)
			}
		}
		buf := make([]byte, 150)
		if err := m.Read(1000, buf); err != nil {
			t.Fatal(err)
		}
		want := append(append(bytes.Repeat([]byte{1}, 90), bytes.Repeat([]byte{3}, 20)...), bytes.Repeat([]byte{2}, 40)...)
		if !bytes.Equal(buf, want) {
			t.Errorf("got % x, want % x", buf, want)
		}
		if n, err := m.ReadBatch([]Request{{1000, buf[:4]}, {5000, buf[:4]}, {0, buf[:4]}, {5000, buf[:4]}}); n != 2 || !errors.Is(err, ErrUnmapped) {
			t.Errorf("batch: got %d, %v; want 2, ErrUnmapped", n, err)
		}
	}
	check(t, im)

	var file, file2 bytes.Buffer
	n, err := im.WriteTo(&file)
	if err != nil || n != int64(file.Len()) {
		t.Fatalf("wrote %d bytes, said %d, %v", file.Len(), n, err)
	}
	again, err := ReadImage(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	check(t, again)
	if _, err := again.WriteTo(&file2); err != nil || !bytes.Equal(file.Bytes(), file2.Bytes()) {
		t.Errorf("writing what was read gives other bytes (%v)", err)
	}
	for i := range file.Len() {
		if _, err := ReadImage(bytes.NewReader(file.Bytes()[:i])); err == nil {
			t.Fatalf("an image cut after %d of %d bytes was read", i, file.Len())
		}
	}
}

func TestReadImageRefuses(t *testing.T) {
	run := func(gap, n uint64, data ...byte) []byte {
		return append(binary.AppendUvarint(binary.AppendUvarint(nil, gap), n), data...)
	}
	end := []byte{0, 0}
	for _, tt := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"magic", []byte(strings.Repeat("x", 100)), "not a memory image"},
		{"wraps", append([]byte(imageMagic), run(math.MaxUint64, 2, 1, 2)...), "out of order"},
		{"second run wraps", append(append([]byte(imageMagic), run(math.MaxUint64-5, 2, 1, 2)...), run(5, 1, 1)...), "out of order"},
		{"length without data", append([]byte(imageMagic), run(0, 1<<60)...), "unexpected EOF"},
		{"data after the end", append(append([]byte(imageMagic), end...), 1), "data after the end"},
		{"varint too long", append([]byte(imageMagic), bytes.Repeat([]byte{0xff}, 20)...), "overflow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadImage(bytes.NewReader(zip(tt.raw)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := ReadImage(strings.NewReader("plain text, not gzip")); !errors.Is(err, gzip.ErrHeader) {
		t.Errorf("got %v, want gzip.ErrHeader", err)
	}
}

// A small file cannot make ReadImage fill the memory of the machine.
func TestReadImageIsBounded(t *testing.T) {
	raw := binary.AppendUvarint(binary.AppendUvarint([]byte(imageMagic), 0), 1<<40)
	raw = append(raw, make([]byte, 100*imagePageSize)...)
	if _, err := readImage(bytes.NewReader(zip(raw)), 99); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if _, err := readImage(bytes.NewReader(zip(raw)), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
	}
}

func zip(raw []byte) []byte {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zw.Write(raw)
	zw.Close()
	return b.Bytes()
}

func TestParseMaps(t *testing.T) {
	const text = `00400000-00401000 r--p 00000000 fe:00 1234                               /usr/bin/a b (deleted)
00401000-00500000 r-xp 00001000 fe:00 1234                               /usr/bin/a b (deleted)
7f0000000000-7f0000021000 rw-p 00000000 00:00 0 
7f0000021000-7f0000022000 ---p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`
	got, err := parseMaps(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Mapping{
		{0x400000, 0x401000, "r--p", 0, 0xfe, 0, 1234, "/usr/bin/a b (deleted)"},
		{0x401000, 0x500000, "r-xp", 0x1000, 0xfe, 0, 1234, "/usr/bin/a b (deleted)"},
		{0x7f0000000000, 0x7f0000021000, "rw-p", 0, 0, 0, 0, ""},
		{0x7f0000021000, 0x7f0000022000, "---p", 0, 0, 0, 0, ""},
		{0x7ffc00000000, 0x7ffc00021000, "rw-p", 0, 0, 0, 0, "[stack]"},
		{0xffffffffff600000, 0xffffffffff601000, "--xp", 0, 0, 0, 0, "[vsyscall]"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if !got[0].Readable() || got[0].Writable() || got[3].Readable() || !got[4].Writable() {
		t.Error("permissions are misread")
	}

	for _, bad := range []string{
		"\n", "garbage\n", "1-2\n", "1-2 r--p\n", "1-2 r--p 0 0:0\n", "2-2 r--p 0 0:0 0\n", "2-1 r--p 0 0:0 0\n",
		"1-2 r--px 0 0:0 0\n", "x-2 r--p 0 0:0 0\n", "1-2 r--p 0 0:0 0\n1-3 r--p 0 0:0 0\n",
		"1-2 r--p 0 0:0 0 " + strings.Repeat("x", 100<<10),
		"1-11111111111111111 r--p 0 0:0 0\n",
	} {
		if got, err := parseMaps(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q parsed as %+v", bad, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 2129984 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"
	for _, name := range []string{"a", "a) R 1", "((", "", ") "} {
		got, err := parseStat([]byte("77 (" + name + ")" + tail))
		if want := (procStat{'S', 2129984, 4242}); err != nil || got != want {
			t.Errorf("command %q: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "1 (a", "1 (a)", "1 (a) S 1", strings.Replace("1 (a)"+tail, "4242", "x", 1), strings.Replace("1 (a)"+tail, "2129984", "-1", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, got)
		}
	}
}

func FuzzReadImage(f *testing.F) {
	im := NewImage()
	im.Add(1000, []byte("hello"))
	im.Add(1<<40, bytes.Repeat([]byte{1}, 2000))
	var b bytes.Buffer
	im.WriteTo(&b)
	zr, _ := gzip.NewReader(bytes.NewReader(b.Bytes()))
	raw, _ := io.ReadAll(zr)
	f.Add(raw)
	f.Add([]byte(imageMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		im, err := ReadImage(bytes.NewReader(zip(raw)))
		if err != nil {
			return
		}
		var once, twice bytes.Buffer
		if _, err := im.WriteTo(&once); err != nil {
			t.Fatal(err)
		}
		again, err := ReadImage(bytes.NewReader(once.Bytes()))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if _, err := again.WriteTo(&twice); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("the image changed (%v)", err)
		}
	})
}

func FuzzParseMaps(f *testing.F) {
	f.Add("00400000-00401000 r--p 00000000 fe:00 1234 /usr/bin/a b (deleted)\n7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n")
	f.Add("1-2 r--p 0 0:0 0")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseMaps(strings.NewReader(text))
		if err != nil {
			return
		}
		var last uint64
		for _, m := range maps {
			if m.Start >= m.End || m.Start < last || len(m.Perm) != 4 {
				t.Fatalf("accepted %+v after %#x", m, last)
			}
			last = m.End
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("77 (a) S 1 2 3 4 5 2129984 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if st, err := parseStat(text); err == nil && (st.state < 'A' || st.state > 'z') {
			t.Fatalf("accepted %q without a state", text)
		}
	})
}

// Random writes and reads agree with a plain map of bytes.
func TestImageAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	im, model := NewImage(), map[uint64]byte{}
	for range 2000 {
		data := make([]byte, rng.IntN(40))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		addr := rng.Uint64N(6000)
		im.Add(addr, data)
		for i, b := range data {
			model[addr+uint64(i)] = b
		}
		at, buf := rng.Uint64N(6000), make([]byte, rng.IntN(60))
		err := im.Read(at, buf)
		whole := true
		for i := range buf {
			b, ok := model[at+uint64(i)]
			whole = whole && ok
			if err == nil && b != buf[i] {
				t.Fatalf("byte at %d is %d, want %d", at+uint64(i), buf[i], b)
			}
		}
		if (err == nil) != whole {
			t.Fatalf("reading %d bytes at %d: %v, want ok=%t", len(buf), at, err, whole)
		}
	}
	if int(im.Size()) != len(model) {
		t.Errorf("holds %d bytes, want %d", im.Size(), len(model))
	}
}
