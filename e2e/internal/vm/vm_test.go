package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/vm/wire"
)

// TestCpio holds an archive against one that cpio(1) has written.
func TestCpio(t *testing.T) {
	var b bytes.Buffer
	c := &cpio{w: &b}
	c.add("dev", cpioDirectory, 0, 0, nil)
	c.add("init", cpioProgram, 0, 0, []byte("hello"))
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	zero := strings.Repeat("0", 8)
	want := "070701" + "00000001" + "000041ed" + zero + zero + "00000001" + zero + zero + zero + zero + zero + zero + "00000004" + zero + "dev\x00\x00\x00" +
		"070701" + "00000002" + "000081ed" + zero + zero + "00000001" + zero + "00000005" + zero + zero + zero + zero + "00000005" + zero + "init\x00\x00" + "hello\x00\x00\x00" +
		"070701" + "00000003" + zero + zero + zero + "00000001" + zero + zero + zero + zero + zero + zero + "0000000b" + zero + "TRAILER!!!\x00\x00\x00\x00"
	if got := b.String(); got != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestCpioFails(t *testing.T) {
	if err := (&cpio{w: broken{}}).end(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestPrograms: what a program needs is named, with its loader.
func TestPrograms(t *testing.T) {
	if _, err := os.Stat("/lib64/ld-linux-x86-64.so.2"); err != nil {
		t.Skip("needs an x86-64 with glibc:", err)
	}
	files, err := Programs("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/bin/sh", "/lib64/ld-linux-x86-64.so.2"} {
		if files[name] == "" {
			t.Errorf("there is no %s: %v", name, files)
		}
	}
	if _, err := Programs("/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestFindNamesWhatIsMissing(t *testing.T) {
	t.Setenv(KernelVariable, filepath.Join(t.TempDir(), "none"))
	_, err := Find()
	missing := new(MissingError)
	if !errors.As(err, &missing) || missing.Hint() == "" {
		t.Fatalf("%v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Find(); !errors.As(err, &missing) || missing.Hint() == "" {
		t.Errorf("%v", err)
	}
}

// TestFollow has a machine say things that it should not.
func TestFollow(t *testing.T) {
	tests := []struct {
		name   string
		frames []wire.Frame
		done   bool
		err    string
	}{
		{"to the end", []wire.Frame{{Kind: wire.Booted, Text: []byte("Linux")}, {Kind: wire.Began}, {Kind: wire.Said, Text: []byte("x")}, {Kind: wire.Ended, Exit: 3, Why: "exit status 3"}, {Kind: wire.Off}}, true, ""},
		{"it falls silent", []wire.Frame{{Kind: wire.Booted}}, false, ""},
		{"it cannot", []wire.Frame{{Kind: wire.Failure, Why: "mounting ext4"}}, false, "mounting ext4"},
		{"a program that there is not", []wire.Frame{{Kind: wire.Began, Program: 1}}, false, "a program 1, of 1"},
		{"too much", []wire.Frame{{Kind: wire.Said, Text: make([]byte, wire.MaxText)}}, false, "says too much"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			for range map[bool]int{true: 1 << 9, false: 1}[tt.name == "too much"] {
				for _, f := range tt.frames {
					if err := wire.Send(&b, f); err != nil {
						t.Fatal(err)
					}
				}
			}
			results := make([]Result, 1)
			said := 0
			m := &Machine{Says: func(_ int, text []byte) { said += len(text) }}
			done, _, err := m.follow(wire.NewReader(&b), results, time.NewTimer(time.Hour))
			if done != tt.done || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, %v", done, err)
			}
			if said != len(results[0].Text) {
				t.Errorf("it said %d bytes, %d are kept", said, len(results[0].Text))
			}
			if tt.done && (!results[0].Ran || results[0].Exit != 3) {
				t.Errorf("%+v", results[0])
			}
		})
	}
}

// TestDeadMachine has something else in the emulator's place, which ends at once.
func TestDeadMachine(t *testing.T) {
	dir := t.TempDir()
	init := filepath.Join(dir, "init")
	if err := os.WriteFile(init, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/bin/true", "/bin/false"} {
		if _, err := os.Stat(path); err != nil {
			t.Skip(err)
		}
		m := &Machine{Tools: &Tools{QEMU: path, Mkfs: "/bin/true"}, Init: init, Dir: dir, Programs: []Program{{Within: time.Minute}}, Boot: time.Minute}
		results, _, err := m.Run(context.Background())
		if dead := new(DeadError); !errors.As(err, &dead) || len(results) != 1 || results[0].Ran {
			t.Errorf("%v, %+v", err, results)
		}
	}
	m := &Machine{Tools: &Tools{QEMU: "/bin/true", Mkfs: "/bin/false"}, Init: init, Dir: dir}
	if _, _, err := m.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "preparing") {
		t.Errorf("%v", err)
	}
}
