//go:build cgo

package main

// int one(void) { return 1; }
import "C"

func init() { _ = C.one() }
