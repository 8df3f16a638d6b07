// Small is a Go program with as little in it as possible, that is quickly built
// for other architectures.
package main

import (
	"os"
	"time"
)

func main() {
	os.Stdout.WriteString("ready\n")
	time.Sleep(time.Minute)
}
