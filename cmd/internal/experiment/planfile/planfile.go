// Package planfile reads the files that hold experiments: YAML, as a person wrote
// it, into an [experiment.Plan] that is complete and makes sense. Whatever is wrong
// is said with its line and what to write instead, all of it at once.
//
// docs/formats/experiment.md says what each key means. This package looks at the
// text alone: whether a directory is there, or a toolchain can be had, is found out
// by who needs it.
package planfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Bounds on what a file may be. Aliases count as often as they are used.
const (
	maxFile     = 256 << 10 // bytes
	maxText     = 1 << 20   // bytes of all keys and values
	maxNodes    = 20_000
	maxDepth    = 16
	maxProblems = 20
)

// Parse reads a plan. The name is that of the file, for messages and where the plan
// has none of its own. The error is an [*Errors]. The plan has every default filled
// in.
func Parse(name string, text []byte) (*experiment.Plan, error) {
	d := &decoder{at: map[string]position{}, lost: map[string]bool{}}
	d.parse(name, text)
	if len(d.problems) > 0 {
		return nil, newErrors(name, d.problems)
	}
	return &d.file.Plan, nil
}

// Load reads a plan from a file, and returns the text too: results keep it.
func Load(path string) (plan *experiment.Plan, text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the experiment: %w", err)
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
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

func (d *decoder) parse(name string, text []byte) {
	root, err := document(text)
	if err != nil {
		d.problems = append(d.problems, *err)
		return
	}
	d.at[""] = position{1, 1}
	d.root(root)
	d.checking = true
	d.defaults(name)
	d.expand()
	d.check()
}

// document returns the only document of the text.
func document(text []byte) (*yaml.Node, *Problem) {
	switch {
	case len(text) > maxFile:
		return nil, &Problem{Line: 1, Column: 1, Text: fmt.Sprintf("the file is larger than %d KiB: that is no experiment", maxFile>>10)}
	case !utf8.Valid(text):
		return nil, &Problem{Line: 1, Column: 1, Text: "the file is not UTF-8 text"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	node, err := next(dec)
	switch {
	case errors.Is(err, io.EOF):
		return nil, &Problem{Line: 1, Column: 1, Text: "there is no experiment in the file; heapwright compare --init writes one"}
	case err != nil:
		return nil, syntaxProblem(err, text)
	}
	switch more, err := next(dec); {
	case err == nil:
		return nil, &Problem{Line: max(more.Line, 1), Column: 1, Text: "a second document begins here: a file holds one experiment"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblem(err, text)
	}
	return node.Content[0], nil
}

// next decodes a document. The library panics where it believes itself to be wrong;
// that is no reason to end the program that reads a file.
func next(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = nil, fmt.Errorf("yaml: %v", r)
		}
	}()
	n = new(yaml.Node)
	if err := dec.Decode(n); err != nil {
		return nil, err
	}
	if len(n.Content) == 0 {
		return nil, io.EOF
	}
	return n, nil
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// yamlFromZero are the messages whose lines the library counts from 0: those of
	// its parser, where those of its scanner count from 1.
	yamlFromZero = regexp.MustCompile(`^(did not find expected (<(stream|document) [a-z]+>|node content|'-' indicator|key|',' or '[\]}]')|found undefined tag handle)$`)
)

func syntaxProblem(err error, text []byte) *Problem {
	p := &Problem{Line: 1, Column: 1}
	msg := err.Error()
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		msg = msg[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			p.Line = n
			if yamlFromZero.MatchString(msg) {
				p.Line++
			}
		}
	}
	p.Text = "this is not YAML: " + clip(strings.Join(strings.Fields(msg), " "), 200)
	// Where it begins, or where it was noticed.
	lines := bytes.Split(text, []byte("\n"))
	for n := max(p.Line-1, 1); n <= min(p.Line+1, len(lines)); n++ {
		l := lines[n-1]
		switch {
		case bytes.ContainsRune(l, '\t') && bytes.HasPrefix(bytes.TrimLeft(l, " "), []byte("\t")):
			p.Text += "; indent with spaces, not with tabs"
			return p
		case bytes.Contains(l, []byte("{")):
			p.Text += `; put text with braces into quotes: "127.0.0.1:{port}"`
			return p
		}
	}
	return p
}

// nameOf makes a plan's name of its file's.
func nameOf(path string) string {
	base := filepath.Base(path)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".yml"), ".yaml")
	base = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, base)
	base = strings.TrimSpace(clip(base, maxName))
	if base == "" || base == "." || base == "-" {
		return "experiment"
	}
	return base
}
