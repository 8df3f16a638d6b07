package demo

import "syscall"

// dieWithUs has the kernel end a child when we end, however that happens.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
