//go:build linux && amd64

package poke

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// The variables that the child lets itself be written to.
var (
	long  uint64    = 0x1111222233334444
	short uint32    = 77
	after uint32    = 88
	bss   [4]uint64 // not initialised: no part of the file
)

const fixed = "a constant, in memory that nobody may write to"

// TestMain is also the process that is written to: it says where its words are,
// and what they hold whenever it is asked.
func TestMain(m *testing.M) {
	if os.Getenv("POKE_CHILD") == "" {
		os.Exit(m.Run())
	}
	heap := make([]uint64, 1<<16)
	shared, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	stack := uint64(0)
	addr := func(p unsafe.Pointer) uintptr { return uintptr(p) }
	fmt.Println(addr(unsafe.Pointer(&long)), addr(unsafe.Pointer(&short)), addr(unsafe.Pointer(&bss)), addr(unsafe.Pointer(&heap[0])),
		addr(unsafe.Pointer(unsafe.StringData(fixed)))&^7, addr(unsafe.Pointer(&shared[0])), addr(unsafe.Pointer(&stack)))
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(long, short, after, bss[0])
	}
}

type child struct {
	t    *testing.T
	proc *procmem.Process
	in   interface{ Write([]byte) (int, error) }
	out  *bufio.Scanner
	cmd  *exec.Cmd
	// Addresses of the child's words.
	long, short, bss, heap, fixed, shared uint64
}

func startChild(t *testing.T) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "POKE_CHILD=1")
	cmd.Stderr = os.Stderr
	in, out := targettest.Pipe(t, cmd)
	c := &child{t: t, in: in, out: bufio.NewScanner(out), cmd: cmd}
	a := c.line()
	c.long, c.short, c.bss, c.heap, c.fixed, c.shared = a[0], a[1], a[2], a[3], a[4], a[5]
	var err error
	if c.proc, err = procmem.Open(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.proc.Close() })
	return c
}

func (c *child) line() []uint64 {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatal("the child ended")
	}
	var out []uint64
	for _, f := range strings.Fields(c.out.Text()) {
		v, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func (c *child) holds(want ...uint64) {
	c.t.Helper()
	if _, err := c.in.Write([]byte("\n")); err != nil {
		c.t.Fatal(err)
	}
	if got := c.line(); !slices.Equal(got, want) {
		c.t.Errorf("the process has %#x, want %#x", got, want)
	}
}

func TestSet(t *testing.T) {
	c := startChild(t)
	c.holds(long, 77, 88, 0)
	for _, w := range []struct {
		Word
		old, value uint64
	}{
		{Word{c.long, 8}, long, ^uint64(0)},
		{Word{c.short, 4}, 77, 1<<32 - 1},
		{Word{c.bss, 8}, 0, 5},
	} {
		if err := Set(c.proc, w.Word, w.old, w.value); err != nil {
			t.Fatal(err)
		}
		if got, err := Get(c.proc, w.Word); err != nil || got != w.value {
			t.Errorf("reads %#x, %v", got, err)
		}
	}
	c.holds(^uint64(0), 1<<32-1, 88, 5)
	if err := Set(c.proc, Word{c.long, 8}, ^uint64(0), 6); err != nil {
		t.Fatal(err)
	}
	c.holds(6, 1<<32-1, 88, 5)
}

func TestSetRefuses(t *testing.T) {
	c := startChild(t)
	for _, tt := range []struct {
		name       string
		w          Word
		old, value uint64
		want       any // an error, or a pointer to a type of one
	}{
		{"another value is there", Word{c.long, 8}, 1, 2, new(*ChangedError)},
		{"two bytes", Word{c.long, 2}, 1, 2, ErrWord},
		{"sixteen bytes", Word{c.long, 16}, 1, 2, ErrWord},
		{"not aligned", Word{c.long + 4, 8}, 1, 2, ErrWord},
		{"half aligned", Word{c.long + 2, 4}, 1, 2, ErrWord},
		{"at 0", Word{0, 8}, 1, 2, ErrWord},
		{"a value of 8 bytes in 4", Word{c.short, 4}, 77, 1 << 32, ErrWord},
		{"an expectation of 8 bytes in 4", Word{c.short, 4}, 1 << 32, 1, ErrWord},
		{"not mapped", Word{8, 8}, 0, 1, new(*MappingError)},
		{"the last address", Word{^uint64(7), 8}, 0, 1, new(*MappingError)},
		{"a constant", Word{c.fixed, 8}, 0, 1, new(*MappingError)},
		{"shared memory", Word{c.shared, 8}, 0, 1, new(*MappingError)},
	} {
		err := Set(c.proc, tt.w, tt.old, tt.value)
		sentinel, is := tt.want.(error)
		if is && !errors.Is(err, sentinel) || !is && !errors.As(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	maps, err := c.proc.Maps()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		if m.Perm == "rw-p" && m.Path == "" && m.Inode == 0 {
			continue
		}
		st, _ := os.Stat("/proc/self/exe")
		if m.Perm == "rw-p" && (m.Path == "[heap]" || st != nil && m.Inode == st.Sys().(*syscall.Stat_t).Ino) {
			continue
		}
		var mapping *MappingError
		if err := Set(c.proc, Word{m.Start, 8}, 0, 0); !errors.As(err, &mapping) || mapping.Perm != m.Perm {
			t.Errorf("%s memory of %q was not refused: %v", m.Perm, m.Path, err)
		}
	}
	c.holds(long, 77, 88, 0)
	c.cmd.Process.Kill()
	c.cmd.Wait()
	if err := Set(c.proc, Word{c.long, 8}, long, 2); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("a process that has ended: %v", err)
	}
}
