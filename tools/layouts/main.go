// Command layouts builds probe programs with real Go toolchains and turns them
// into the layout tables of cmd/internal/layout.
//
//	go run ./tools/layouts                      every release from 1.20 on; writes the tables (an hour on 2 cores)
//	go run ./tools/layouts -add go1.28.0        add releases to the tables, keeping the probes of -probes
//	go run ./tools/layouts -check go1.26.8,...  build the probes of these releases anew and compare with the tables
//
// Toolchains come through GOTOOLCHAIN, as for any go command. A probe is an
// empty main: the functions of the runtime that refer to the wanted variables
// are linked into every program.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A build is one probe: a release, an experiment, and how it is linked.
type build struct {
	release, experiment, goarch, flavour string
}

func (b build) name() string {
	r := b.release
	if b.experiment != "" {
		r += "+" + b.experiment
	}
	return r + "-" + b.goarch + "-" + b.flavour
}

// newestPatch is the newest patch release of each minor release that is covered.
var newestPatch = map[int]int{20: 14, 21: 13, 22: 12, 23: 12, 24: 13, 25: 14, 26: 11, 27: 4}

// never are patch releases whose toolchain the module proxy does not have.
var never = map[string]bool{"go1.20.2": true, "go1.20.3": true, "go1.20.5": true, "go1.20.9": true, "go1.20.12": true, "go1.20.13": true}

// experiments are those GOEXPERIMENTs that change the runtime's layout or code
// and that people use, each with the releases, by prefix, that it is probed on.
var experiments = map[string][]string{
	"nogreenteagc":   {"go1.26.", "go1.27."}, // the default of these releases, undone
	"greenteagc":     {"go1.25.14"},
	"noswissmap":     {"go1.24.13"},
	"nospinbitmutex": {"go1.24.13"},
}

func releases() []string {
	var all []string
	for minor := 20; minor <= 27; minor++ {
		for patch := 0; patch <= newestPatch[minor]; patch++ {
			if r := fmt.Sprintf("go1.%d.%d", minor, patch); !never[r] {
				all = append(all, r)
			}
		}
	}
	return all
}

// flavours are the ways of linking that compile the runtime differently. Only
// the last patch of a minor release is probed with -race: its anchors serve the
// others, or they are refused.
func flavours(release string) []build {
	out := []build{
		{release: release, goarch: "amd64", flavour: "exe"}, {release: release, goarch: "amd64", flavour: "pie"},
		{release: release, goarch: "arm64", flavour: "exe"}, {release: release, goarch: "arm64", flavour: "pie"},
	}
	for minor, patch := range newestPatch {
		if release == fmt.Sprintf("go1.%d.%d", minor, patch) {
			out = append(out, build{release: release, goarch: "amd64", flavour: "race"})
		}
	}
	return out
}

func main() {
	out := flag.String("out", "cmd/internal/layout/tables", "directory of the tables")
	probes := flag.String("probes", "", "directory that keeps the probes (default: a temporary one)")
	check := flag.String("check", "", "comma-separated releases to build anew and compare with the tables")
	add := flag.String("add", "", "comma-separated releases to add")
	flag.Parse()
	if err := run(*out, *probes, *check, *add); err != nil {
		fmt.Fprintln(os.Stderr, "layouts:", err)
		os.Exit(1)
	}
}

func run(out, probes, check, add string) error {
	if probes == "" {
		dir, err := os.MkdirTemp("", "probes")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		probes = dir
	}
	want := releases()
	mk := []string{"run", "github.com/heapwright/heapwright/cmd/internal/layout/mktable", "-probes", probes}
	if check != "" {
		want, mk = strings.Split(check, ","), append(mk, "-check")
	} else {
		mk = append(mk, "-out", out)
		if add != "" {
			want = append(want, strings.Split(add, ",")...)
		}
	}
	var builds []build
	for _, r := range want {
		builds = append(builds, flavours(r)...)
		for x, on := range experiments {
			for _, prefix := range on {
				if strings.HasPrefix(r, prefix) && check == "" {
					for _, f := range flavours(r)[:4] {
						f.experiment = x
						builds = append(builds, f)
					}
				}
			}
		}
	}
	src, err := source()
	if err != nil {
		return err
	}
	defer os.RemoveAll(src)
	var errs []error
	for i, b := range builds {
		path := filepath.Join(probes, b.name())
		if _, err := os.Stat(path); err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "[%d/%d] %s\n", i+1, len(builds), b.name())
		if err := b.build(src, path); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	cmd := exec.Command("go", mk...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// source writes the probe's source to a directory of its own.
func source() (string, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"go.mod": "module example.com/probe\n\ngo 1.20\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (b build) build(src, path string) error {
	args := []string{"build", "-o", path}
	cgo := "0"
	switch b.flavour {
	case "pie":
		args = append(args, "-buildmode=pie")
	case "race":
		args, cgo = append(args, "-race"), "1"
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = src
	toolchain := b.release
	if toolchain == "go1.20.0" {
		toolchain = "go1.20" // releases before 1.21 had no .0
	}
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOARCH="+b.goarch, "GOOS=linux", "GOEXPERIMENT="+b.experiment,
		"CGO_ENABLED="+cgo, "GOWORK=off", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", b.name(), err, stderr.String())
	}
	return nil
}
