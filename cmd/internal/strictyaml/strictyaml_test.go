package strictyaml

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name string        `yaml:"name"`
	On   bool          `yaml:"on"`
	Wait time.Duration `yaml:"wait"`
	Part *struct {
		Above *float64 `yaml:"above"`
		Count int      `yaml:"count"`
	} `yaml:"part"`
	Items []struct {
		Level   level             `yaml:"level"`
		Headers map[string]string `yaml:"headers"`
	} `yaml:"items"`
	Secret string `yaml:"-"`
}

type level int

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "high" {
		return errors.New("the only level is high")
	}
	*l = 1
	return nil
}

var words = Words{Noun: "sample", A: "a sample", Key: "name: x", Writer: "write one", Empty: true}

func decode(text string) (sample, error) {
	s := sample{Name: "default"}
	d := New(words, nil)
	d.Decode([]byte(text), &s)
	return s, d.Err("x.yaml")
}

func TestDecode(t *testing.T) {
	s, err := decode("name: 7\non: true\nwait: 20s\npart: {above: 0.5, count: 3}\nitems:\n- level: high\n  headers: {A: b}\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "7" || !s.On || s.Wait != 20*time.Second || *s.Part.Above != 0.5 || s.Part.Count != 3 || s.Items[0].Level != 1 || s.Items[0].Headers["A"] != "b" {
		t.Errorf("%+v", s)
	}
	for _, text := range []string{"", "# nothing\n", "items:\npart:\n", "null"} {
		if s, err := decode(text); err != nil || s.Name != "default" {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestDecodeSays(t *testing.T) {
	for text, want := range map[string]string{
		"nmae: x":                   `x.yaml:1:1: "nmae" is no key here; did you mean name?`,
		"above: 1":                  `x.yaml:1:1: "above" is no key here; it belongs to part`,
		"secret: 1":                 `x.yaml:1:1: "secret" is no key here: there are name, on, wait, part, items`,
		"-: 1":                      `x.yaml:1:1: "-" is no key here: there are name, on, wait, part, items`,
		"on: yes":                   `x.yaml:1:5: on: "yes" is neither true nor false`,
		"\nwait: 5":                 `x.yaml:2:7: wait: "5" has no unit: write 5s, 5ms or 5m`,
		"items:\n- level: low":      `x.yaml:2:10: items[0].level: the only level is high`,
		"name:":                     `x.yaml:1:6: name: there is no value; write "" for an empty text`,
		"name: {a: b}":              `x.yaml:1:1: name: here is one value expected`,
		"[1]":                       `x.yaml:1:1: a sample is keys and values, such as "name: x"; write one`,
		"on: true\non: false":       `x.yaml:2:1: "on" is already in line 1`,
		"part: {count: 1.5}":        `x.yaml:1:15: part.count: "1.5" is no whole number`,
		"part: {above: x}":          `x.yaml:1:15: part.above: "x" is no number`,
		"part: {above: [1]}":        `x.yaml:1:8: part.above: here is one value expected`,
		"a: 1\n---\nb: 2":           `x.yaml:2:1: a second document begins here: a file holds one sample`,
		"name: a\n\ton: true":       `x.yaml:2:1: this is not YAML: found a tab character that violates indentation; indent with spaces, not with tabs`,
		"name: !!int 5":             `x.yaml:1:7: name: leave out the tag "!!int"`,
		"items: [ , ]":              ``,
		strings.Repeat("#\n", 1e6):  `x.yaml:1:1: the file is larger than 256 KiB: that is no sample`,
		"name: \xff":                `x.yaml:1:1: the file is not UTF-8 text`,
		"name: \"a\\0b\"":           `x.yaml:1:7: name: "a\x00b" has a NUL in it`,
		"items: [{headers: [a]}]":   `x.yaml:1:10: items[0].headers: here are names with their texts expected: {NAME: text}`,
		"items: [{headers: {a: }}]": `x.yaml:1:23: items[0].headers.a: there is no value; write "" for an empty text`,
	} {
		_, err := decode(text)
		if err == nil {
			t.Errorf("%.60q is taken", text)
		} else if want != "" && err.Error() != want {
			t.Errorf("%.60q:\n got %s\nwant %s", text, err, want)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	e := newErrors("x", []Problem{{1, 1, "", "a"}, {1, 1, "", "a"}})
	if len(e.Problems) != 1 {
		t.Errorf("the same problem twice: %v", e)
	}
	e = newErrors("x", slices.Repeat([]Problem{{1, 1, "", "a"}, {1, 2, "", "b"}, {1, 1, "", "c"}}, 20))
	if e.More == 0 || !strings.HasSuffix(e.Error(), " more") {
		t.Errorf("%v", e)
	}
}

func TestBadAfterReading(t *testing.T) {
	var s sample
	d := New(words, nil)
	d.Decode([]byte("name: x\npart: {count: 2}\nitems: [{level: low}]\n"), &s)
	d.Bad("part.count", "two")
	d.Bad("part.above", "not said where something was lost, and this key may be it")
	d.Bad("items[0].level", "said already")
	want := []string{"x:2:15: part.count: two", "x:3:17: items[0].level: the only level is high"}
	var errs *Errors
	if !errors.As(d.Err("x"), &errs) || !reflect.DeepEqual(errs.Lines(), want) {
		t.Errorf("%v", d.Err("x"))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: 7\non: true\nwait: 20s\npart: {above: 0.5, count: 3}\nitems:\n- level: high\n  headers: {A: b}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("items: [{headers: {a: }}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s sample
		d := New(words, nil)
		d.Decode(text, &s)
		var errs *Errors
		if err := d.Err("x"); err != nil && (!errors.As(err, &errs) || len(errs.Problems) > MaxProblems || len(err.Error()) > 64<<10) {
			t.Errorf("%.200v", err)
		}
	})
}
