// Package remote reads the books of a Go runtime from outside the process: the
// pacer, the pause rings, the CPU classes, the scheduler. The target is not
// stopped, not written to, and needs to know nothing of it.
//
// [Attach] finds the runtime's globals and proves what it found before the first
// reading is given out:
//
//  1. the Go release comes from the program's build info; its structure layouts
//     and anchors come from package layout, for exactly that release, or not at all;
//  2. the pclntab gives the runtime's functions by name; where a function's code
//     has the fingerprint that the tables know, its references vote for the
//     addresses of globals, and the symbol table votes too where there is one;
//  3. every vote must agree, and a global that is needed must have two;
//  4. the values found there must make sense together and with /proc (see check.go).
//
// Whatever fails is a typed refusal: a wrong number is worse than none.
//
// [Target.Word] says where a setting lies, for package live, which may change it:
// of what is read wrongly there is a wrong number, of what is written wrongly a
// broken process, so that more is asked of such an address.
//
// The package reads. It does not unwind stacks or walk profiles (package
// profile), does not find processes (package goproc), and cannot write.
package remote
