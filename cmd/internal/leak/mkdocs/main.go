// Mkdocs writes the manual of leaks into a file. It is run by go generate.
package main

import (
	"log"
	"os"

	"github.com/heapwright/heapwright/cmd/internal/leak"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkdocs: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: mkdocs FILE")
	}
	if err := os.WriteFile(os.Args[1], []byte(leak.Manual()), 0o666); err != nil {
		log.Fatal(err)
	}
}
