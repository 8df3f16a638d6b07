// Package planfile reads the files that hold experiments: YAML, as a person wrote
// it, into an [experiment.Plan] that is complete and makes sense. Whatever is wrong
// is said with its line and what to write instead, all of it at once.
//
// docs/formats/experiment.md says what each key means. This package looks at the
// text alone: whether a directory is there, or a toolchain can be had, is found out
// by who needs it.
package planfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Parse reads a plan. The name is that of the file, for messages and where the plan
// has none of its own. The error is an [*strictyaml.Errors]. The plan has every default filled
// in.
func Parse(name string, text []byte) (*experiment.Plan, error) {
	d := newDecoder()
	d.parse(name, text)
	if err := d.Err(name); err != nil {
		return nil, err
	}
	return &d.file.Plan, nil
}

// Load reads a plan from a file, and returns the text too: results keep it.
func Load(path string) (plan *experiment.Plan, text []byte, err error) {
	text, err = strictyaml.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the experiment: %w", err)
	}
	plan, err = Parse(path, text)
	return plan, text, err
}

// Hash identifies the text of a plan: SHA-256, in hex.
func Hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// A file is what a file may hold: a plan, and what stands for several variants.
type file struct {
	experiment.Plan `yaml:",inline"`
	Sweep           *sweep `yaml:"sweep"`
}

// A decoder reads a file, and looks for what it cannot mean.
type decoder struct {
	*Parts
	file file
}

func newDecoder() *decoder {
	return &decoder{Parts: &Parts{Duet: true, Words: []string{"port", "dir", "variant", "seq"}, Decoder: strictyaml.New(strictyaml.Words{
		Noun: "experiment", A: "an experiment", Key: "schema: " + experiment.PlanSchema,
		Writer: "heapwright compare --init writes one", Braces: `"127.0.0.1:{port}"`,
	}, Scalar)}}
}

func (d *decoder) parse(name string, text []byte) {
	if !d.Decode(text, &d.file) {
		return
	}
	d.defaults(name)
	d.expand()
	d.check()
}

// NameOf makes a plan's name of its file's, or takes the other where there is none.
func NameOf(path, otherwise string) string {
	base := filepath.Base(path)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".yml"), ".yaml")
	base = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, base)
	base = strings.TrimSpace(strictyaml.Clip(base, maxName))
	if base == "" || base == "." || base == "-" {
		return otherwise
	}
	return base
}
