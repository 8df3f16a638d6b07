package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

func versionCommand() command {
	var verbose, json bool
	return command{
		use:   "version",
		short: "the version, and which Go releases can be read",
		example: `
  heapwright version
  heapwright version -v`,
		args: exactly(0, "no arguments"),
		flags: func(f *pflag.FlagSet) {
			f.BoolVarP(&verbose, "verbose", "v", false, "list every Go release that can be read")
			jsonFlag(f, &json)
		},
		run: func(_ context.Context, env Env, _ arguments) error {
			doc := versionOf()
			if json {
				return writeJSON(env.Stdout, doc)
			}
			return doc.print(env, verbose)
		},
	}
}

type versionDocument struct {
	Schema       string `json:"schema"`
	Version      string `json:"version"`
	Revision     string `json:"revision"` // "" when not built from a repository
	GoVersion    string `json:"go_version"`
	GOOS         string `json:"goos"`
	GOARCH       string `json:"goarch"`
	RecordSchema string `json:"recording_schema"`
	// Readable are the Go releases whose processes can be read, by GOARCH, oldest first.
	Readable map[string][]string `json:"readable_go_versions"`
}

func versionOf() versionDocument {
	doc := versionDocument{Schema: schemaVersion, Version: "(devel)", GoVersion: runtime.Version(), GOOS: runtime.GOOS, GOARCH: runtime.GOARCH,
		RecordSchema: record.Schema, Readable: map[string][]string{}}
	if bi, ok := debug.ReadBuildInfo(); ok {
		if bi.Main.Version != "" {
			doc.Version = bi.Main.Version
		}
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				doc.Revision = s.Value
			}
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		doc.Readable[arch] = layout.Releases(arch)
	}
	return doc
}

func (d versionDocument) print(env Env, verbose bool) error {
	fmt.Fprintf(env.Stdout, "heapwright %s", d.Version)
	if d.Revision != "" {
		fmt.Fprintf(env.Stdout, " (%.12s)", d.Revision)
	}
	fmt.Fprintf(env.Stdout, ", built with %s for %s/%s\n", d.GoVersion, d.GOOS, d.GOARCH)
	for _, arch := range []string{"amd64", "arm64"} {
		all := d.Readable[arch]
		if len(all) == 0 {
			continue
		}
		plain := 0
		for _, v := range all {
			if !strings.Contains(v, " ") {
				plain++
			}
		}
		fmt.Fprintf(env.Stdout, "reads linux/%s programs of Go %s to %s: %d releases, %d with experiments\n",
			arch, shortGoVersion(all[0]), shortGoVersion(layout.Newest(arch)), plain, len(all)-plain)
		if verbose {
			for i, v := range all {
				all[i] = strings.TrimPrefix(v, "go")
			}
			fmt.Fprintln(env.Stdout, term.Wrap(strings.Join(all, ", "), "  ", env.textColumns(env.Stdout)))
		}
	}
	return nil
}
