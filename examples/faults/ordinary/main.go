// Ordinary is healthy: what all these programs do, without a fault beside it.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

func main() { work.Run(0, func(int) {}) }
