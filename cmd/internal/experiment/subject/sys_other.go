//go:build !linux

package subject

import "syscall"

// Only Linux can end a child with us, and only there programs are run: what is
// here lets the package, and builds, compile elsewhere.

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func into(*syscall.SysProcAttr, int) {}

func gettid() int { return 0 }
