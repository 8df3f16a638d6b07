//go:build !linux

package demo

import "syscall"

// attributes cannot have the child end with us: only Linux offers that.
func attributes() *syscall.SysProcAttr { return nil }
