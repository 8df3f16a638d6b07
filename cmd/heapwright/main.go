// Heapwright looks into any running Go process from outside and says what its
// memory and garbage collector are doing, and why. See docs/commands.
package main

import (
	"os"

	"github.com/heapwright/heapwright/cmd/internal/cli"
)

func main() {
	os.Exit(int(cli.Main(cli.System(), os.Args[1:])))
}
