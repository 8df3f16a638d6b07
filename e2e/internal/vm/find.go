package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// KernelVariable names a kernel to boot in place of the one that is found.
const KernelVariable = "HEAPWRIGHT_VM_KERNEL"

// Tools are what a machine is made with.
type Tools struct {
	QEMU   string
	Mkfs   string // mkfs.ext4
	Kernel string // bzImage
}

// A MissingError says what of that is not here.
type MissingError struct {
	What   string
	Kernel bool // it is the kernel, which [Fetch] gets
	Err    error
	hint   string
}

func (e *MissingError) Error() string {
	if e.Err != nil {
		return "there is no " + e.What + ": " + e.Err.Error()
	}
	return "there is no " + e.What
}

func (e *MissingError) Unwrap() error { return e.Err }

// Hint says how it comes here.
func (e *MissingError) Hint() string { return e.hint }

// Find looks for the tools: programs in the path, and a kernel that the environment
// names or that [Fetch] has got. A kernel of the host's is not taken: what is built into
// it and what is a module differs too much.
func Find() (*Tools, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, &MissingError{What: "machine for " + runtime.GOOS + "/" + runtime.GOARCH, hint: "run it on linux/amd64"}
	}
	t := &Tools{}
	var err error
	if t.QEMU, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		return nil, &MissingError{What: "emulator", Err: err, hint: "apt-get install --no-install-recommends qemu-system-x86"}
	}
	for _, path := range []string{"mkfs.ext4", "/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"} {
		if t.Mkfs, err = exec.LookPath(path); err == nil {
			break
		}
	}
	if err != nil {
		return nil, &MissingError{What: "mkfs.ext4", hint: "apt-get install e2fsprogs"}
	}
	const hint = "make cgroup2 gets one from Debian's archive, and " + KernelVariable + " names another"
	if t.Kernel = os.Getenv(KernelVariable); t.Kernel != "" {
		if _, err := os.Stat(t.Kernel); err != nil {
			return nil, &MissingError{What: "kernel", Err: err, hint: hint}
		}
		return t, nil
	}
	dir, err := cache()
	if err != nil {
		return nil, err
	}
	if kernels, _ := filepath.Glob(filepath.Join(dir, "vmlinuz-*")); len(kernels) > 0 {
		slices.Sort(kernels)
		t.Kernel = kernels[len(kernels)-1]
		return t, nil
	}
	return nil, &MissingError{What: "kernel in " + dir, Kernel: true, hint: hint}
}

func cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where kernels are kept: %w", err)
	}
	return filepath.Join(dir, "heapwright", "vm"), nil
}

// pkg is Debian's kernel for virtual machines: with ext4 and NVMe built in, which is
// all that a disk needs, and with cgroup v2 and pressure.
const pkg = "linux-image-cloud-amd64"

// Fetch gets the kernel of Debian's package, without installing it, for [Find]. It needs
// apt and its lists.
func Fetch(ctx context.Context) (err error) {
	into, err := cache()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(into, "fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	run := func(argv ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = dir
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("getting a kernel: %s: %w\n%s", strings.Join(argv, " "), err, said.String())
		}
		return out, nil
	}
	// The package of that name only depends on the one of the newest version.
	out, err := run("apt-cache", "depends", "--important", pkg)
	if err != nil {
		return err
	}
	_, name, ok := strings.Cut(string(out), "Depends: ")
	name, _, _ = strings.Cut(name, "\n")
	if name = strings.TrimSpace(name); !ok || !strings.HasPrefix(name, "linux-image-") {
		return &MissingError{What: "package " + pkg, hint: "apt-get update, on Debian"}
	}
	if _, err := run("apt-get", "download", name); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("getting a kernel: %d packages came", len(debs))
	}
	if _, err := run("dpkg-deb", "-x", debs[0], "all"); err != nil {
		return err
	}
	kernels, _ := filepath.Glob(filepath.Join(dir, "all/boot/vmlinuz-*"))
	if len(kernels) != 1 {
		return fmt.Errorf("getting a kernel: in %s there are %d", filepath.Base(debs[0]), len(kernels))
	}
	return os.Rename(kernels[0], filepath.Join(into, filepath.Base(kernels[0])))
}

// place puts a file where it will be on the disk, by a second name for it where that is
// possible.
func place(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
