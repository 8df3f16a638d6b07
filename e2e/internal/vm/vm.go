// Package vm runs programs in a virtual machine of its own, with a Linux that has
// cgroup v2: for what cannot be tried on a host whose controllers belong to v1. The
// machine is emulated by QEMU, without KVM, so that it runs where no virtualization is.
// It has one CPU and a time of its own, no network but its loopback, and nothing of the
// host's but the files that it is given, in copies.
//
// It is for tests: of the programs, the host gets the output and how they ended. What
// the programs are, is not known here.
package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/vm/wire"
)

// A Program is one that is run in the machine.
type Program = wire.Program

// A Machine is what is to be run, and in what.
type Machine struct {
	Tools *Tools
	// Init is a static build of package init.
	Init string
	// Dir is for the disk and all else that the machine needs.
	Dir string

	MemoryMiB int
	DiskMiB   int
	// Controllers of cgroup v2 are enabled for the children of the root.
	Controllers []string
	// Files are on the disk: path there to path here.
	Files    map[string]string
	Programs []Program
	// Boot is how long it may take until the first program begins. The programs have
	// bounds of their own.
	Boot time.Duration
	// Says is called with what the programs say, as it comes. It may be nil.
	Says func(program int, text []byte)
}

// A Result is what came of a program.
type Result struct {
	Program Program
	// Ran is whether it was started at all.
	Ran  bool
	Exit int    // -1 for a signal
	Why  string // in words, where it did not end with 0
	Took time.Duration
	Text []byte
	Cut  int // bytes of its text that were dropped
}

// A DeadError says that the machine ended, or was ended, before it was done.
type DeadError struct {
	Why     string
	Console string // the end of what its kernel said
}

func (e *DeadError) Error() string {
	return "the machine ended before its time: " + e.Why + "\n" + e.Console
}

// Build builds the init of machines; dir is one in this module.
func Build(ctx context.Context, dir, into string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", into, "github.com/heapwright/heapwright/e2e/internal/vm/init")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the init of a machine: %w\n%s", err, text)
	}
	return nil
}

// icount has the machine's time go by the instructions that it executes, 2 ns for each,
// and jump to what it waits for when it has nothing to do: to the programs in it, it is a
// machine of 500 million instructions a second, however busy the host is. What lasts two
// seconds there may last a minute here, or none.
const icount = "shift=1,sleep=off"

// repGood is a feature of CPUs, by its number in Linux, that makes the kernel clear and
// copy pages by one instruction that is repeated, as are those that the machine is denied
// above: an emulator goes through the repetitions one by one.
const repGood = "112"

// Run boots the machine, and returns what came of its programs when it is off, and what
// its kernel is. It is an error when the machine does not come to its end; the results
// are those that there are.
func (m *Machine) Run(ctx context.Context) (results []Result, kernel string, err error) {
	if err := m.prepare(ctx); err != nil {
		return nil, "", fmt.Errorf("preparing a machine: %w", err)
	}
	all := m.Boot
	for _, p := range m.Programs {
		all += p.Within + 10*time.Second // to be told of, and to be killed
		results = append(results, Result{Program: p, Exit: -1})
	}
	ctx, cancel := context.WithTimeoutCause(ctx, all, fmt.Errorf("it is not off after %v", all))
	defer cancel()
	console := filepath.Join(m.Dir, "console.log")
	cmd := exec.CommandContext(ctx, m.Tools.QEMU,
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max,-erms,-fsrm",
		"-icount", icount, "-rtc", "clock=vm",
		"-smp", "1", "-m", strconv.Itoa(m.MemoryMiB)+"M",
		"-kernel", m.Tools.Kernel, "-initrd", filepath.Join(m.Dir, "initramfs"),
		"-append", "console=ttyS0 loglevel=5 panic=-1 cgroup_no_v1=all psi=1 tsc=reliable clearcpuid="+repGood+" mitigations=off random.trust_cpu=on",
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+filepath.Join(m.Dir, "disk"),
		"-device", "nvme,drive=disk,serial=heapwright",
		"-serial", "file:"+console, "-serial", "stdio")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return results, "", fmt.Errorf("starting a machine: %w", err)
	}
	// Only its death ends the reading: a port has no time.
	boot := time.AfterFunc(m.Boot, func() { cancel() })
	defer boot.Stop()
	done, kernel, why := m.follow(wire.NewReader(out), results, boot)
	if why != nil {
		cancel()
	}
	io.Copy(io.Discard, out)
	waited := cmd.Wait()
	if done {
		return results, kernel, nil
	}
	switch {
	case why != nil:
	case context.Cause(ctx) != nil && !errors.Is(context.Cause(ctx), context.Canceled):
		why = context.Cause(ctx)
	case ctx.Err() != nil:
		why = fmt.Errorf("it has not booted after %v, or was interrupted", m.Boot)
	default:
		why = fmt.Errorf("%v %s", waited, said.String())
	}
	return results, kernel, &DeadError{Why: why.Error(), Console: tail(console)}
}

// follow takes what the machine says until it is done, or says no more.
func (m *Machine) follow(r *wire.Reader, results []Result, boot *time.Timer) (done bool, kernel string, err error) {
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return done, kernel, nil
		}
		if err != nil {
			return false, kernel, err
		}
		if f.Program >= len(results) {
			return false, kernel, fmt.Errorf("it tells of a program %d, of %d", f.Program, len(results))
		}
		switch f.Kind {
		case wire.Booted:
			boot.Stop()
			kernel = string(f.Text)
		case wire.Failure:
			return false, kernel, errors.New(f.Why)
		case wire.Off:
			done = true
		case wire.Began:
			results[f.Program].Ran = true
		case wire.Said:
			const most = 4 << 20 // it bounds itself, too
			p := &results[f.Program]
			if len(p.Text)+len(f.Text) > most {
				return false, kernel, fmt.Errorf("program %d says too much", f.Program)
			}
			p.Text = append(p.Text, f.Text...)
			if m.Says != nil {
				m.Says(f.Program, f.Text)
			}
		case wire.Ended:
			p := &results[f.Program]
			p.Exit, p.Why, p.Took, p.Cut = f.Exit, f.Why, f.Took, f.Cut
		}
	}
}

// prepare makes the first file system, which has the init and its orders, and the disk.
func (m *Machine) prepare(ctx context.Context) error {
	init, err := os.ReadFile(m.Init)
	if err != nil {
		return err
	}
	orders, err := json.Marshal(wire.Orders{Controllers: m.Controllers, Programs: m.Programs})
	if err != nil {
		return err
	}
	var ram bytes.Buffer
	c := &cpio{w: &ram}
	c.add("dev", cpioDirectory, 0, 0, nil)
	c.add("dev/console", cpioCharacter, 5, 1, nil)
	c.add("init", cpioProgram, 0, 0, init)
	c.add(strings.TrimPrefix(wire.Path, "/"), cpioFile, 0, 0, orders)
	if err := c.end(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "initramfs"), ram.Bytes(), 0o600); err != nil {
		return err
	}
	tree := filepath.Join(m.Dir, "tree")
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "var/tmp", "root", "etc"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for to, from := range m.Files {
		if err := place(from, filepath.Join(tree, to)); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/hosts":  "127.0.0.1 localhost\n::1 localhost\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	disk := filepath.Join(m.Dir, "disk")
	cmd := exec.CommandContext(ctx, m.Tools.Mkfs, "-q", "-F", "-O", "^has_journal", "-d", tree, disk, strconv.Itoa(m.DiskMiB)+"M")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", m.Tools.Mkfs, err, text)
	}
	return os.RemoveAll(tree)
}

// tail is the end of a file.
func tail(path string) string {
	const most = 4 << 10
	b, _ := os.ReadFile(path)
	return string(b[max(0, len(b)-most):])
}
