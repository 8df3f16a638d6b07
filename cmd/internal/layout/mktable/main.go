// Command mktable writes the layout tables from a directory of probe programs,
// or checks that the committed tables say what the probes say.
//
//	mktable -probes DIR -out DIR      write a table for each (minor release, GOARCH)
//	mktable -probes DIR -check        compare with the tables built into this program
//
// Probes are named VERSION[+EXPERIMENT]-GOARCH-FLAVOUR, such as
// go1.26.8+nogreenteagc-amd64-pie. tools/layouts builds them from real toolchains.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/layout/probe"
)

func main() {
	probes := flag.String("probes", "", "directory of probe programs")
	out := flag.String("out", "", "directory to write tables to")
	check := flag.Bool("check", false, "compare with the built-in tables instead of writing")
	flag.Parse()
	if err := run(*probes, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "mktable:", err)
		os.Exit(1)
	}
}

// A build is one probe program, read.
type build struct {
	version, experiment, goarch, flavour string
	*probe.Probe
}

func run(dir, out string, check bool) error {
	builds, err := readAll(dir)
	if err != nil {
		return err
	}
	if check {
		return checkAll(builds)
	}
	groups := map[string][]build{}
	for _, b := range builds {
		m := b.version[len("go"):strings.LastIndex(b.version, ".")]
		groups[layout.FileName(m, b.goarch)] = append(groups[layout.FileName(m, b.goarch)], b)
	}
	// A function that many toolchains compile alike is the better anchor: rank over everything.
	rank := map[string]int{}
	for _, b := range builds {
		for _, a := range b.Anchors {
			rank[anchorKey(b.goarch, a)]++
		}
	}
	total := int64(0)
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		t := table(groups[name], rank)
		f, err := os.Create(filepath.Join(out, name))
		if err != nil {
			return err
		}
		if err := t.Write(f); err != nil {
			return err
		}
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		total += st.Size()
		fmt.Printf("%-24s %3d releases %4d functions %7d bytes\n", name, len(t.Releases), len(t.Functions), st.Size())
	}
	fmt.Printf("%-24s %d bytes\n", "all", total)
	return nil
}

func readAll(dir string) ([]build, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "go1.*-*-*"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no probes in %q; build them with: go run ./tools/layouts", dir)
	}
	var builds []build
	for _, path := range paths {
		parts := strings.Split(filepath.Base(path), "-")
		if len(parts) != 3 {
			return nil, fmt.Errorf("probe %s: not VERSION-GOARCH-FLAVOUR", path)
		}
		v, x, _ := strings.Cut(parts[0], "+")
		version, experiment := layout.ParseVersion(v + " X:" + x)
		p, err := probe.Read(path)
		if err != nil {
			return nil, err
		}
		builds = append(builds, build{version, experiment, parts[1], parts[2], p})
	}
	slices.SortFunc(builds, func(a, b build) int {
		if c := slices.Compare(numbers(a.version), numbers(b.version)); c != 0 {
			return c
		}
		return strings.Compare(a.experiment+"/"+a.flavour, b.experiment+"/"+b.flavour)
	})
	return builds, nil
}

func numbers(version string) []int {
	var ns []int
	for s := range strings.SplitSeq(strings.TrimPrefix(version, "go"), ".") {
		n, _ := strconv.Atoi(s)
		ns = append(ns, n)
	}
	return ns
}

func anchorKey(goarch string, a layout.Anchor) string { return fmt.Sprint(goarch, a) }

// anchorsPerGlobal is how many functions a release keeps for each global and
// flavour. Two are enough to vote; the rest is for builds in which some are
// inlined or optimised differently (PGO, GOAMD64=v3, c-shared).
const anchorsPerGlobal = 10

func pick(b build, rank map[string]int) []layout.Anchor {
	bySymbol := map[string][]layout.Anchor{}
	for _, a := range b.Anchors {
		seen := map[string]bool{}
		for _, r := range a.Refs {
			if !seen[r.Symbol] {
				seen[r.Symbol] = true
				bySymbol[r.Symbol] = append(bySymbol[r.Symbol], a)
			}
		}
	}
	kept := map[string]layout.Anchor{}
	for _, as := range bySymbol {
		slices.SortFunc(as, func(x, y layout.Anchor) int {
			kx, ky := anchorKey(b.goarch, x), anchorKey(b.goarch, y)
			if rank[kx] != rank[ky] {
				return rank[ky] - rank[kx]
			}
			return strings.Compare(kx, ky)
		})
		for _, a := range as[:min(len(as), anchorsPerGlobal)] {
			kept[anchorKey(b.goarch, a)] = a
		}
	}
	var out []layout.Anchor
	for _, k := range slices.Sorted(maps.Keys(kept)) {
		out = append(out, kept[k])
	}
	return out
}

func table(builds []build, rank map[string]int) *layout.Table {
	t := &layout.Table{
		Minor:   builds[0].version[:strings.LastIndex(builds[0].version, ".")],
		GOARCH:  builds[0].goarch,
		Structs: map[string][]map[string][2]uint32{},
		Globals: probe.Globals,
	}
	globals := map[string]int64{}
	for i, g := range probe.Globals {
		globals[g] = int64(i)
	}
	index := map[string]int{}
	for i := 0; i < len(builds); {
		first := builds[i]
		r := layout.TableRelease{Version: first.version, Experiment: first.experiment, Structs: map[string]int{}}
		for ; i < len(builds) && builds[i].version == first.version && builds[i].experiment == first.experiment; i++ {
			b := builds[i]
			if b.flavour == "exe" {
				for name, fields := range b.Structs {
					k := slices.IndexFunc(t.Structs[name], func(f map[string][2]uint32) bool { return maps.Equal(f, fields) })
					if k < 0 {
						k = len(t.Structs[name])
						t.Structs[name] = append(t.Structs[name], fields)
					}
					r.Structs[name] = k
				}
			}
			for _, a := range pick(b, rank) {
				key := anchorKey(b.goarch, a)
				k, ok := index[key]
				if !ok {
					k = len(t.Functions)
					index[key] = k
					f := layout.TableFunc{Name: a.Func, Size: a.Size, Hash: a.Hash}
					off := uint32(0)
					for _, d := range a.Fields {
						f.Fields = append(f.Fields, [2]uint32{d.Off - off, d.Next - d.Off})
						off = d.Off
					}
					for _, ref := range a.Refs {
						f.Refs = append(f.Refs, [3]int64{int64(ref.Index), globals[ref.Symbol], ref.Addend})
					}
					t.Functions = append(t.Functions, f)
				}
				if !slices.Contains(r.Functions, k) {
					r.Functions = append(r.Functions, k)
				}
			}
		}
		slices.Sort(r.Functions)
		t.Releases = append(t.Releases, r)
	}
	return t
}

// checkAll reports every difference between the probes and the built-in tables.
func checkAll(builds []build) error {
	var errs []error
	for _, b := range builds {
		where := fmt.Sprintf("%s %s %s %s", b.version, b.experiment, b.goarch, b.flavour)
		v := b.version
		if b.experiment != "" {
			v += " X:" + b.experiment
		}
		rel, err := layout.Lookup(v, b.goarch)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for name, fields := range b.Structs {
			for f, want := range fields {
				full := strings.TrimSuffix(name+"."+f, ".")
				if got, ok := rel.Layout.Field(full); !ok || got != (layout.Field{Off: want[0], Size: want[1]}) {
					errs = append(errs, fmt.Errorf("%s: %s is %v, the table says %v", where, full, want, got))
				}
			}
		}
		fresh := map[string]layout.Anchor{}
		for _, a := range b.Anchors {
			fresh[a.Func+fmt.Sprint(a.Hash)] = a
		}
		matched := map[string]int{}
		for _, a := range rel.Anchors {
			got, ok := fresh[a.Func+fmt.Sprint(a.Hash)]
			if !ok {
				continue // of another flavour
			}
			if !reflect.DeepEqual(got, a) {
				errs = append(errs, fmt.Errorf("%s: %s refers to %v, the table says %v", where, a.Func, got.Refs, a.Refs))
			}
			for _, r := range a.Refs {
				matched[r.Symbol]++
			}
		}
		for g := range b.Symbols {
			have := slices.ContainsFunc(b.Anchors, func(a layout.Anchor) bool {
				return slices.ContainsFunc(a.Refs, func(r layout.Ref) bool { return r.Symbol == g })
			})
			if have && matched[g] == 0 {
				errs = append(errs, fmt.Errorf("%s: no anchor of the table matches for %s", where, g))
			}
		}
	}
	if len(errs) == 0 {
		fmt.Printf("%d probes agree with the tables\n", len(builds))
	}
	return errors.Join(errs...)
}
