// Mkdocs writes the manual pages of the rules into a directory, one file each and
// an index, and removes pages of rules that are gone. It is run by go generate.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkdocs: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: mkdocs DIRECTORY")
	}
	dir := os.Args[1]
	if err := os.MkdirAll(dir, 0o777); err != nil {
		log.Fatal(err)
	}
	pages := diagnose.Pages(exectrace.Pages()...)
	old, err := filepath.Glob(filepath.Join(dir, "HW*.md"))
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range old {
		if _, ok := pages[filepath.Base(path)]; !ok {
			if err := os.Remove(path); err != nil {
				log.Fatal(err)
			}
		}
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			log.Fatal(err)
		}
	}
}
