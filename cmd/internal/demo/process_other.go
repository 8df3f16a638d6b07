//go:build !linux

package demo

import "syscall"

// dieWithUs does nothing: only Linux can end a child with its parent.
func dieWithUs(*syscall.SysProcAttr) {}
