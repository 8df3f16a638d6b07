package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// A Change is a key whose value differs between two files.
type Change struct {
	Key      string // sampling.interval; a list as a whole
	Old, New string // as the file has them
	Restart  bool   // a running agent cannot take it over
}

func (c Change) String() string {
	s := fmt.Sprintf("%s: %s -> %s", c.Key, c.Old, c.New)
	if c.Restart {
		s += " (needs a restart)"
	}
	return s
}

// Diff says which keys differ between what an agent runs with and what the file says
// now, in the order of the file, and which of them need a restart.
func Diff(old, now *File) []Change {
	var out []Change
	diff(&out, reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem(), "")
	return out
}

func diff(out *[]Change, a, b reflect.Value, path string) {
	if a.Kind() == reflect.Struct {
		for i := range a.NumField() {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
			p := name
			if path != "" {
				p = path + "." + name
			}
			diff(out, a.Field(i), b.Field(i), p)
		}
		return
	}
	if isEmpty(a) && isEmpty(b) {
		return // [] and nothing
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		*out = append(*out, Change{path, format(a), format(b), restart(path)})
	}
}

func isEmpty(v reflect.Value) bool {
	return (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0
}

// restart reports whether a key needs one.
func restart(path string) bool {
	for p := range strings.SplitSeq(restarts, " ") {
		if path == p || strings.HasPrefix(path, p+".") {
			return true
		}
	}
	return false
}

// restarts are the keys, and sections, that a running agent cannot take over: what it
// holds open, and who may talk to it.
const restarts = "schema listen external_url data storage snapshots.max_bytes snapshots.per_process_bytes snapshots.max_age history oom tls access forward experiments log"

// format writes a value as the file has it, in one line.
func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case Bytes:
		return x.String()
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return format(v.Elem())
	case reflect.Struct: // an item of a list: what it says
		var items []string
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if !v.Field(i).IsZero() {
				items = append(items, name+": "+format(v.Field(i)))
			}
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Map:
		var items []string
		for _, k := range slices.Sorted(maps.Keys(v.Interface().(map[string]string))) {
			items = append(items, k+": "+format(v.MapIndex(reflect.ValueOf(k))))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, format(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.String:
		if s := v.String(); s == "" || strings.ContainsAny(s, ":#[]{},&*!|>'\"%@` ") {
			return strictyaml.Quote(s)
		}
	}
	return fmt.Sprint(v.Interface())
}
