// Command pacervectors calls the pacer of real Go toolchains, and writes down
// what it answers: the test vectors of package pacer.
//
//	go run ./tools/pacervectors                          the newest patch of each minor release; writes pacer/testdata/runtime.txt
//	go run ./tools/pacervectors -n 20000 -o FILE         many more: then go test ./pacer -run TestRuntime -vectors FILE
//
// Toolchains come through GOTOOLCHAIN, as for any go command. A file is laid over
// their package runtime, which calls its unexported functions with drawn inputs.
package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed probe
var probe embed.FS

func main() {
	releases := flag.String("releases", "go1.20.14,go1.21.13,go1.22.12,go1.23.12,go1.24.13,go1.25.14,go1.26.11,go1.27.4,go1.27.4-X:heapminimum512kib", "which, separated by commas")
	out := flag.String("o", "pacer/testdata/runtime.txt", "`file` to write")
	n := flag.Int("n", 40, "vectors of each kind")
	seed := flag.Uint64("seed", 1, "of the inputs")
	flag.Parse()
	if err := run(strings.Split(*releases, ","), *out, *n, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "pacervectors:", err)
		os.Exit(1)
	}
}

func run(releases []string, out string, n int, seed uint64) error {
	dir, err := os.MkdirTemp("", "pacervectors")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Lines that releases have in common are written once, under the list of them.
	var order []string
	by := map[string][]string{}
	for _, r := range releases {
		lines, err := vectors(dir, r, n, seed)
		if err != nil {
			return fmt.Errorf("asking the pacer of %s: %w", r, err)
		}
		for _, l := range lines {
			switch rs := by[l]; {
			case rs == nil:
				order = append(order, l)
			case rs[len(rs)-1] == r: // drawn twice
				continue
			}
			by[l] = append(by[l], r)
		}
	}
	sections := map[string][]string{}
	var heads []string
	for _, l := range order {
		h := strings.Join(by[l], " ")
		if sections[h] == nil {
			heads = append(heads, h)
		}
		sections[h] = append(sections[h], l)
	}
	slices.SortStableFunc(heads, func(a, b string) int { return strings.Count(b, " ") - strings.Count(a, " ") })
	var b bytes.Buffer
	b.WriteString("# What the runtime's own pacer answers. Made by tools/pacervectors: do not edit.\n")
	for _, h := range heads {
		fmt.Fprintf(&b, "\n%s\n%s\n", h, strings.Join(sections[h], "\n"))
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

// vectors builds the probe with a release, and runs it.
func vectors(dir, release string, n int, seed uint64) ([]string, error) {
	dir = filepath.Join(dir, strings.ReplaceAll(release, ":", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	toolchain, experiment, _ := strings.Cut(release, "-X:")
	minor, _ := strconv.Atoi(strings.Split(release, ".")[1])
	last, forced := "last.go.txt", "" // endCycle is not told since Go 1.27
	if minor < 21 {
		last = "last20.go.txt"
	}
	if minor < 27 {
		forced = ", false"
	}
	inRuntime := strings.ReplaceAll(text("runtime.go.txt"), "/*userForced*/", forced) + text(last)
	for name, data := range map[string]string{"go.mod": "module example.com/probe\n\ngo 1.20\n", "main.go": text("main.go.txt"),
		"empty.s": "", "runtime.txt": inRuntime} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			return nil, err
		}
	}
	env := append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOROOT=", "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1",
		"GOEXPERIMENT="+experiment, "CGO_ENABLED=0")
	root, err := command(dir, env, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	root = strings.TrimSpace(root)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "src/runtime/heapwright_probe.go"): filepath.Join(dir, "runtime.txt")}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		return nil, err
	}
	// The go command refuses to replace files of a toolchain in its module cache.
	env = append(env, "GOTOOLCHAIN=local", "GOMODCACHE="+filepath.Join(dir, "mod"))
	if _, err := command(dir, env, filepath.Join(root, "bin/go"), "build", "-overlay=overlay.json", "-o", "probe", "."); err != nil {
		return nil, err
	}
	answers, err := command(dir, append(os.Environ(), "GOGC=off", "GOMEMLIMIT=off", "GOMAXPROCS=1"), filepath.Join(dir, "probe"), strconv.Itoa(n), strconv.FormatUint(seed, 10))
	return strings.Split(strings.TrimSpace(answers), "\n"), err
}

func text(name string) string {
	b, err := probe.ReadFile("probe/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

func command(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(b), nil
}
