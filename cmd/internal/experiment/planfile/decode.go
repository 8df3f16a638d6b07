package planfile

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A position is a place in the file.
type position struct{ line, column int }

// A decoder fills a file from YAML nodes, by the yaml names of its fields, and
// remembers where everything stands.
type decoder struct {
	file     file
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

// bad adds a problem with a key. One that is not in the file is said where it
// would stand.
func (d *decoder) bad(path, format string, args ...any) {
	if d.checking {
		if d.lost[path] || len(d.lost) > 0 && !d.given(path) {
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
func (d *decoder) badKey(k *yaml.Node, path, format string, args ...any) {
	d.lost[path] = true
	d.problems = append(d.problems, Problem{k.Line, k.Column, path, fmt.Sprintf(format, args...)})
}

// given reports whether the file has a key.
func (d *decoder) given(path string) bool {
	_, ok := d.at[path]
	return ok
}

func (d *decoder) root(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.bad("", "an experiment is keys and values, such as \"schema: %s\"; heapwright compare --init writes one", experiment.PlanSchema)
		return
	}
	d.value(n, reflect.ValueOf(&d.file).Elem(), "", 0)
}

// value sets v from a node.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, depth int) {
	n, ok := d.enter(n, path, depth)
	if !ok {
		return
	}
	if isNull(n) {
		switch v.Kind() {
		case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map:
			// A key whose contents are all commented out.
			delete(d.at, path)
		default:
			d.bad(path, `there is no value; write "" for an empty text`)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.keys(n, v.Elem(), path, depth)
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

// enter follows aliases, and holds the bounds.
func (d *decoder) enter(n *yaml.Node, path string, depth int) (*yaml.Node, bool) {
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
		d.bad(path, "this is nested too deeply")
		return n, false
	case d.nodes > maxNodes || d.text > maxText:
		d.full = true
		d.bad(path, "the file holds too much, or its aliases do; the rest was not read")
		return n, false
	}
	return n, true
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Tag == "!!null"
}

// entries calls f with each key and value of a mapping whose keys are texts.
func (d *decoder) entries(n *yaml.Node, path string, f func(key string, k, v *yaml.Node)) {
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
			d.badKey(k, path, "%s is already in line %d", quote(k.Value), line)
			continue
		}
		seen[k.Value] = k.Line
		d.text += len(k.Value)
		f(k.Value, k, v)
	}
}

// keys sets the fields of a struct.
func (d *decoder) keys(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.bad(path, "here are keys expected, with their values: %s", strings.Join(names(v.Type()), ", "))
		return
	}
	d.entries(n, path, func(key string, k, val *yaml.Node) {
		field := fieldOf(v, key)
		if !field.IsValid() {
			d.badKey(k, path, "%s", unknownKey(v.Type(), key))
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

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.bad(path, "here is a list expected: [one, two], or a line with a dash for each")
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
		if !d.given(p) { // null
			d.at[p] = position{item.Line, item.Column}
			d.bad(p, "there is nothing after the dash")
		}
		out = reflect.Append(out, e)
	}
	v.Set(out)
}

// texts sets a map of texts.
func (d *decoder) texts(n *yaml.Node, v reflect.Value, path string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.bad(path, "here are names with their texts expected: {NAME: text}")
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
	v.Set(reflect.ValueOf(m))
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.bad(path, `here is one value expected; put text with braces into quotes: "127.0.0.1:{port}"`)
		return
	}
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
		d.bad(path, "leave out the tag %s", quote(n.Tag))
		return
	}
	if err := set(v, n.Value); err != nil {
		d.bad(path, "%s", err)
	}
}

// set reads a text as the type of v wants it. A number or a word like "off" that
// stands for a text is that text, as it was written.
func set(v reflect.Value, s string) error {
	var err error
	switch to := v.Addr().Interface().(type) {
	case *string:
		*to = s
		if strings.ContainsRune(s, 0) {
			err = fmt.Errorf("%s has a NUL in it", quote(s))
		}
	case *time.Duration:
		*to, err = parseDuration(s)
	case *experiment.Bytes:
		*to, err = parseBytes(s)
	case *experiment.Ratio:
		*to, err = parseRatio(s)
	case *experiment.Rate:
		*to, err = parseRate(s)
	case *float64:
		*to, err = parseNumber(s)
	case *int:
		if *to, err = strconv.Atoi(s); err != nil {
			err = fmt.Errorf("%s is no whole number", quote(s))
		}
	case *uint64:
		if *to, err = strconv.ParseUint(s, 10, 64); err != nil {
			err = fmt.Errorf("%s is no whole number from 0 to 2^64-1", quote(s))
		}
	default:
		err = fmt.Errorf("a %s is nothing that is read", v.Type())
	}
	return err
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
		if name == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func yamlName(f reflect.StructField) (name, option string) {
	name, option, _ = strings.Cut(f.Tag.Get("yaml"), ",")
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
		out = append(out, name)
	}
	return out
}

// keyPaths are the paths of all keys under a type, such as variants[].gogc.
func keyPaths(t reflect.Type, path string) []string {
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
		p := join(path, name)
		out = append(append(out, p), keyPaths(f.Type, p)...)
	}
	return out
}

// unknownKey says that there is no such key, and which may be meant.
func unknownKey(t reflect.Type, key string) string {
	text := fmt.Sprintf("%s is no key here", quote(key))
	keys := names(t)
	if near := nearest(key, keys); near != "" {
		return text + "; did you mean " + near + "?"
	}
	var elsewhere []string
	for _, p := range keyPaths(reflect.TypeFor[file](), "") {
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

// nearest is the word that was probably meant, "" when none is near.
func nearest(s string, words []string) string {
	near := near(s, words, 1)
	if len(near) == 0 {
		return ""
	}
	return near[0]
}

// near are up to n words that are like s, the likest first.
func near(s string, words []string, n int) []string {
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
