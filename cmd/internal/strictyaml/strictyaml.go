// Package strictyaml reads YAML that a person wrote into a struct, by the yaml names
// of its fields, and says everything that is wrong at once: each mistake with its line
// and what to write instead, an unknown key with the one that was probably meant.
//
// It bounds what it reads: size, depth, and what aliases unfold to. It knows nothing of
// what the keys mean; who does asks [Decoder.Given], fills in defaults, and adds its own
// complaints with [Decoder.Bad].
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
)

const (
	MaxFile     = 256 << 10 // bytes that a file may have
	MaxProblems = 20        // that are told of one file
)

// Bounds on what a file may be. Aliases count as often as they are used.
const (
	maxText  = 1 << 20 // bytes of all keys and values
	maxNodes = 20_000
	maxDepth = 16
)

// Words are what messages call the file.
type Words struct {
	Noun   string // "experiment"
	A      string // "an experiment"
	Key    string // one of its lines: "schema: x/1"
	Writer string // who writes one: "heapwright compare --init writes one"
	Braces string // text with braces in quotes, as an example; "" where none is expected
	Empty  bool   // a file without contents is one
}

// A Scalar reads a text as the type of v wants it, and reports whether that is a
// type of its. The error says what to write.
type Scalar func(v reflect.Value, s string) (mine bool, err error)

// ReadFile reads a file for [Decoder.Decode], and no more of it than shows that it is
// too large.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}

// A position is a place in the file.
type position struct{ line, column int }

// A Decoder fills a struct from YAML, and remembers where everything stands.
type Decoder struct {
	words    Words
	scalars  Scalar
	root     reflect.Type
	problems []Problem
	at       map[string]position // of every key that the file has, by path: variants[0].name
	nodes    int
	text     int
	full     bool // a bound was passed, and said

	// What was not understood while the file was read is not there when it is
	// checked, and would be found missing or wrong once more.
	checking bool
	lost     map[string]bool // keys whose value, or some key of whose, was not understood
}

// New returns a decoder that reads texts, numbers, booleans, durations, and what
// scalars reads; nil for nothing more.
func New(words Words, scalars Scalar) *Decoder {
	return &Decoder{words: words, scalars: scalars, at: map[string]position{}, lost: map[string]bool{}}
}

// Decode reads a text into the struct that into points to. What the text does not
// give stays as it is. It returns false when there was nothing to read from; the
// complaints are in [Decoder.Err] in any case. From then on, Bad is about meaning.
func (d *Decoder) Decode(text []byte, into any) bool {
	v := reflect.ValueOf(into).Elem()
	d.root = v.Type()
	root, err := d.document(text)
	if err != nil {
		d.problems = append(d.problems, *err)
		return false
	}
	d.at[""] = position{1, 1}
	if root != nil {
		if root.Kind != yaml.MappingNode && !(d.words.Empty && isNull(root)) {
			d.Bad("", "%s is keys and values, such as %q; %s", d.words.A, d.words.Key, d.words.Writer)
		} else {
			d.value(root, v, "", 0)
		}
	}
	d.checking = true
	return true
}

// Err returns everything that is wrong, as an [*Errors], or nil.
func (d *Decoder) Err(name string) error {
	if len(d.problems) == 0 {
		return nil
	}
	return newErrors(name, d.problems)
}

// Problems is how many complaints there are.
func (d *Decoder) Problems() int { return len(d.problems) }

// Given reports whether the file has a key.
func (d *Decoder) Given(path string) bool {
	_, ok := d.at[path]
	return ok
}

// Copied says that a key stands where another does, which it was made of.
func (d *Decoder) Copied(path, from string) {
	if at, ok := d.at[from]; ok {
		d.at[path] = at
	}
}

// Bad adds a problem with a key. One that is not in the file is said where it
// would stand.
func (d *Decoder) Bad(path, format string, args ...any) {
	if d.checking {
		if d.lost[path] || len(d.lost) > 0 && !d.Given(path) {
			return
		}
	} else {
		d.lost[path] = true
	}
	p := path
	for {
		if at, ok := d.at[p]; ok {
			d.problems = append(d.problems, Problem{at.line, at.column, path, fmt.Sprintf(format, args...)})
			return
		}
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
	}
}

// badKey adds a problem with a key of a mapping, which is not read.
func (d *Decoder) badKey(k *yaml.Node, path, format string, args ...any) {
	d.lost[path] = true
	d.problems = append(d.problems, Problem{k.Line, k.Column, path, fmt.Sprintf(format, args...)})
}

// document returns the only document of the text; nil for one that is empty and may be.
func (d *Decoder) document(text []byte) (*yaml.Node, *Problem) {
	switch {
	case len(text) > MaxFile:
		return nil, &Problem{Line: 1, Column: 1, Text: fmt.Sprintf("the file is larger than %d KiB: that is no %s", MaxFile>>10, d.words.Noun)}
	case !utf8.Valid(text):
		return nil, &Problem{Line: 1, Column: 1, Text: "the file is not UTF-8 text"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	node, err := next(dec)
	switch {
	case errors.Is(err, io.EOF) && d.words.Empty:
		return nil, nil
	case errors.Is(err, io.EOF):
		return nil, &Problem{Line: 1, Column: 1, Text: fmt.Sprintf("there is no %s in the file; %s", d.words.Noun, d.words.Writer)}
	case err != nil:
		return nil, d.syntaxProblem(err, text)
	}
	switch more, err := next(dec); {
	case err == nil:
		return nil, &Problem{Line: max(more.Line, 1), Column: 1, Text: "a second document begins here: a file holds one " + d.words.Noun}
	case !errors.Is(err, io.EOF):
		return nil, d.syntaxProblem(err, text)
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

func (d *Decoder) syntaxProblem(err error, text []byte) *Problem {
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
	p.Text = "this is not YAML: " + Clip(strings.Join(strings.Fields(msg), " "), 200)
	// Where it begins, or where it was noticed.
	lines := bytes.Split(text, []byte("\n"))
	for n := max(p.Line-1, 1); n <= min(p.Line+1, len(lines)); n++ {
		l := lines[n-1]
		switch {
		case bytes.ContainsRune(l, '\t') && bytes.HasPrefix(bytes.TrimLeft(l, " "), []byte("\t")):
			p.Text += "; indent with spaces, not with tabs"
			return p
		case d.words.Braces != "" && bytes.Contains(l, []byte("{")):
			p.Text += "; put text with braces into quotes: " + d.words.Braces
			return p
		}
	}
	return p
}

// value sets v from a node.
func (d *Decoder) value(n *yaml.Node, v reflect.Value, path string, depth int) {
	n, ok := d.enter(n, path, depth)
	if !ok {
		return
	}
	if isNull(n) {
		switch v.Kind() {
		case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map:
			// A key whose contents are all commented out.
			if path != "" {
				delete(d.at, path)
			}
		default:
			d.Bad(path, `there is no value; write "" for an empty text`)
		}
		return
	}
	if d.isScalar(v) {
		d.scalar(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if e := v.Elem(); e.Kind() == reflect.Struct && !d.isScalar(e) {
			d.keys(n, e, path, depth)
		} else {
			d.scalar(n, e, path)
		}
	case reflect.Struct:
		d.keys(n, v, path, depth)
	case reflect.Slice:
		d.list(n, v, path, depth)
	case reflect.Map:
		d.texts(n, v, path, depth)
	default:
		d.scalar(n, v, path)
	}
}

// isScalar reports whether a struct, list or map is written as one text.
func (d *Decoder) isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
		return ok
	}
	return false
}

// enter follows aliases, and holds the bounds.
func (d *Decoder) enter(n *yaml.Node, path string, depth int) (*yaml.Node, bool) {
	for range maxDepth {
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	d.nodes++
	d.text += len(n.Value)
	switch {
	case d.full:
		return n, false
	case depth > maxDepth || n.Kind == yaml.AliasNode:
		d.Bad(path, "this is nested too deeply")
		return n, false
	case d.nodes > maxNodes || d.text > maxText:
		d.full = true
		d.Bad(path, "the file holds too much, or its aliases do; the rest was not read")
		return n, false
	}
	return n, true
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Tag == "!!null"
}

// entries calls f with each key and value of a mapping whose keys are texts.
func (d *Decoder) entries(n *yaml.Node, path string, f func(key string, k, v *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			d.badKey(k, path, "a key is a word; put text with braces into quotes")
			continue
		case k.Tag == "!!merge":
			d.badKey(k, path, "<< is not read here: write the keys out")
			continue
		}
		if line, ok := seen[k.Value]; ok {
			d.badKey(k, path, "%s is already in line %d", Quote(k.Value), line)
			continue
		}
		seen[k.Value] = k.Line
		d.text += len(k.Value)
		f(k.Value, k, v)
	}
}

// keys sets the fields of a struct.
func (d *Decoder) keys(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.Bad(path, "here are keys expected, with their values: %s", strings.Join(names(v.Type()), ", "))
		return
	}
	d.entries(n, path, func(key string, k, val *yaml.Node) {
		field := fieldOf(v, key)
		if !field.IsValid() {
			d.badKey(k, path, "%s", d.unknownKey(v.Type(), key))
			return
		}
		p := join(path, key)
		d.at[p] = position{k.Line, k.Column}
		if val.Kind == yaml.ScalarNode {
			d.at[p] = position{val.Line, val.Column}
		}
		d.value(val, field, p, depth+1)
	})
}

func (d *Decoder) list(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.Bad(path, "here is a list expected: [one, two], or a line with a dash for each")
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), maxNodes))
	for i, item := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.at[p] = position{item.Line, item.Column}
		e := reflect.New(v.Type().Elem()).Elem()
		if d.value(item, e, p, depth+1); d.full {
			return
		}
		if !d.Given(p) { // null
			d.at[p] = position{item.Line, item.Column}
			d.Bad(p, "there is nothing after the dash")
		}
		out = reflect.Append(out, e)
	}
	v.Set(out)
}

// texts sets a map of texts.
func (d *Decoder) texts(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.Bad(path, "here are names with their texts expected: {NAME: text}")
		return
	}
	m := map[string]string{}
	d.entries(n, path, func(key string, k, val *yaml.Node) {
		p := join(path, key)
		d.at[p] = position{k.Line, k.Column}
		if val.Kind == yaml.ScalarNode {
			d.at[p] = position{val.Line, val.Column}
		}
		var s string
		d.value(val, reflect.ValueOf(&s).Elem(), p, depth+1)
		m[key] = s
	})
	v.Set(reflect.ValueOf(m).Convert(v.Type()))
}

func (d *Decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		text := "here is one value expected"
		if d.words.Braces != "" {
			text += "; put text with braces into quotes: " + d.words.Braces
		}
		d.Bad(path, "%s", text)
		return
	}
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
		d.Bad(path, "leave out the tag %s", Quote(n.Tag))
		return
	}
	if err := d.set(v, n.Value); err != nil {
		d.Bad(path, "%s", err)
	}
}

// set reads a text as the type of v wants it. A number or a word like "off" that
// stands for a text is that text, as it was written.
func (d *Decoder) set(v reflect.Value, s string) error {
	if d.scalars != nil {
		if mine, err := d.scalars(v, s); mine {
			return err
		}
	}
	switch to := v.Addr().Interface().(type) {
	case *time.Duration:
		t, err := ParseDuration(s)
		*to = t
		return err
	case encoding.TextUnmarshaler:
		return to.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("%s has a NUL in it", Quote(s))
		}
	case reflect.Bool:
		switch s {
		case "true", "false":
			v.SetBool(s == "true")
		default:
			return fmt.Errorf("%s is neither true nor false", Quote(s))
		}
	case reflect.Float64:
		f, err := ParseNumber(s)
		v.SetFloat(f)
		return err
	case reflect.Int, reflect.Int64, reflect.Int32:
		i, err := strconv.ParseInt(s, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%s is no whole number", Quote(s))
		}
		v.SetInt(i)
	case reflect.Uint64:
		u, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%s is no whole number from 0 to 2^64-1", Quote(s))
		}
		v.SetUint(u)
	default:
		return fmt.Errorf("a %s is nothing that is read", v.Type())
	}
	return nil
}

// ParseDuration reads 20s or 1m30s.
func ParseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if err != nil {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return 0, fmt.Errorf("%s has no unit: write %ss, %sms or %sm", Quote(s), s, s, s)
		}
		return 0, fmt.Errorf("%s is no duration: write 20s, 500ms or 10m", Quote(s))
	}
	return v, nil
}

var plainNumber = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// ParseNumber reads a plain decimal number that is not negative.
func ParseNumber(s string) (float64, error) {
	if !plainNumber.MatchString(s) {
		return 0, fmt.Errorf("%s is no number", Quote(s))
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is no number", Quote(s))
	}
	return v, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fieldOf finds the field of a struct by its yaml name, also in one that is inlined.
func fieldOf(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		name, opt := yamlName(v.Type().Field(i))
		if opt == "inline" {
			if f := fieldOf(v.Field(i), key); f.IsValid() {
				return f
			}
			continue
		}
		if name != "" && name == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// yamlName is the key of a field; "" for one that no file has.
func yamlName(f reflect.StructField) (name, option string) {
	name, option, _ = strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		name = ""
	}
	return name, option
}

// names are the keys of a struct.
func names(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		name, opt := yamlName(t.Field(i))
		if opt == "inline" {
			out = append(out, names(t.Field(i).Type)...)
			continue
		}
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// KeyPaths are the paths of all keys under a type, in the order of its fields, such
// as variants[].gogc.
func KeyPaths(t reflect.Type) []string { return keyPaths(t, "") }

func keyPaths(t reflect.Type, path string) []string {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return keyPaths(t.Elem(), path)
	case reflect.Slice:
		return keyPaths(t.Elem(), path+"[]")
	case reflect.Struct:
	default:
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, opt := yamlName(f)
		if opt == "inline" {
			out = append(out, keyPaths(f.Type, path)...)
			continue
		}
		if name == "" {
			continue
		}
		p := join(path, name)
		out = append(append(out, p), keyPaths(f.Type, p)...)
	}
	return out
}

// unknownKey says that there is no such key, and which may be meant.
func (d *Decoder) unknownKey(t reflect.Type, key string) string {
	text := fmt.Sprintf("%s is no key here", Quote(key))
	keys := names(t)
	if near := Nearest(key, keys); near != "" {
		return text + "; did you mean " + near + "?"
	}
	var elsewhere []string
	for _, p := range KeyPaths(d.root) {
		if i := strings.LastIndexByte(p, '.'); i >= 0 && p[i+1:] == key {
			elsewhere = append(elsewhere, strings.TrimSuffix(p[:i], "[]"))
		} else if i < 0 && p == key {
			elsewhere = append(elsewhere, "the top of the file")
		}
	}
	if len(elsewhere) > 0 {
		return text + "; it belongs to " + strings.Join(elsewhere, " or ")
	}
	return text + ": there are " + strings.Join(keys, ", ")
}

// Nearest is the word that was probably meant, "" when none is near.
func Nearest(s string, words []string) string {
	near := Near(s, words, 1)
	if len(near) == 0 {
		return ""
	}
	return near[0]
}

// Near are up to n words that are like s, the likest first.
func Near(s string, words []string, n int) []string {
	const longest = 64
	if len(s) > longest {
		return nil
	}
	plain := func(s string) string { return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(s)) }
	type scored struct {
		word string
		d    int
	}
	var found []scored
	for _, w := range words {
		d := rule.EditDistance(plain(s), plain(w))
		if d <= max(len(s)/3, 1) && d < len(w) {
			found = append(found, scored{w, d})
		} else if len(s) >= 3 && strings.Contains(plain(w), plain(s)) {
			found = append(found, scored{w, longest + d})
		}
	}
	slices.SortStableFunc(found, func(a, b scored) int { return a.d - b.d })
	var out []string
	for _, f := range found[:min(len(found), n)] {
		out = append(out, f.word)
	}
	return out
}
