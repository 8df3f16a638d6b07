//go:build !unix

package main

import "github.com/heapwright/heapwright/examples/internal/work"

// Without mmap there is nothing to see.
func main() { work.Run(1, func(int) {}) }
