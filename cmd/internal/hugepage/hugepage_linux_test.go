package hugepage

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// A file is as long as it was asked for, takes nothing before it is written, and is in no
// list of mounts.
func TestFile(t *testing.T) {
	const size = 16 << 20
	f, err := File(size)
	if errors.Is(err, ErrNone) {
		t.Skipf("needs CAP_SYS_ADMIN and Linux 5.2: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != size {
		t.Fatalf("%v %v", info, err)
	}
	if n, err := f.WriteAt([]byte("x"), size-1); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// None of its name is anywhere: /proc/self/mountinfo lists what is mounted.
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "huge=always,size=16384k") {
		t.Error("the file system is mounted")
	}
}

func TestSize(t *testing.T) {
	if n := Size(); n != 0 && (n < 64<<10 || n&(n-1) != 0) {
		t.Errorf("large pages of %d bytes", n)
	}
}
