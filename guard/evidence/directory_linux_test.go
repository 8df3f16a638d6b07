package evidence

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tmpfs mounts a file system of a size, or skips the test where we may not.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir())
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,"+options); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// On a full disk there is an error and nothing else, and when there is room again
// there is evidence again.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=16k")
	r := newRecorder(t, Options{Dir: dir})
	_, err := r.Capture(context.Background(), "x", samples(200))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "capturing evidence") {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	capture(t, r, "y")
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("there are %q, want one bundle", left)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, "size=16m")
	r := newRecorder(t, Options{Dir: dir})
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Capture(context.Background(), "x", nil); !errors.Is(err, syscall.EROFS) {
		t.Errorf("got %v, want EROFS", err)
	}
	if _, err := New(Options{Dir: dir}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a new one: got %v, want EROFS", err)
	}
}
