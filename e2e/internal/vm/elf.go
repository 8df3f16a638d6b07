package vm

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Programs are files of the host that a machine needs in order to run these programs of
// the host, such as /bin/sh: they, their libraries and their loader, each at its path.
func Programs(paths ...string) (map[string]string, error) {
	files := map[string]string{}
	for len(paths) > 0 {
		path := paths[0]
		paths = paths[1:]
		if files[path] != "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("a program for the machine: %w", err)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, fmt.Errorf("a program for the machine: %w", err)
		}
		files[path] = real
		needs, err := needs(real)
		if err != nil {
			return nil, fmt.Errorf("a program for the machine: %s: %w", path, err)
		}
		paths = append(paths, needs...)
	}
	return files, nil
}

// needs are the loader and the libraries of a program or library.
func needs(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, min(p.Filesz, 4096))
			if _, err := p.ReadAt(b, 0); err != nil && err != io.EOF {
				return nil, err
			}
			out = append(out, strings.TrimRight(string(b), "\x00"))
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return out, nil // one that is not dynamic has none
	}
	for _, name := range names {
		found := false
		for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				out, found = append(out, filepath.Join(dir, name)), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("the library %s is not found", name)
		}
	}
	return out, nil
}
