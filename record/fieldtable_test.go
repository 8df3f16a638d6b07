package record

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fieldConstants returns the names of the Field constants, in order.
func fieldConstants(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "fields.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Field") {
			names = append(names, spec.Names[0].Name)
		}
		return true
	})
	return names
}

// The struct, the constants and the table are three lists of the same fields.
func TestFieldsAgree(t *testing.T) {
	constants := fieldConstants(t)
	if len(constants) != int(NumFields) {
		t.Fatalf("%d constants, NumFields is %d", len(constants), NumFields)
	}
	var s Sample
	v := reflect.ValueOf(&s).Elem()
	has, _ := v.Type().FieldByName("Has")
	first := has.Index[0] + 1
	if got := v.NumField() - first; got != int(NumFields) {
		t.Fatalf("Sample has %d fields after Has, NumFields is %d", got, NumFields)
	}
	if len(s.Has)*64 < int(NumFields) {
		t.Fatalf("FieldSet has room for %d fields of %d", len(s.Has)*64, NumFields)
	}

	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	names := map[string]bool{"kind": true, "time": true, "source": true}
	for f := range NumFields {
		field := v.Type().Field(first + int(f))
		if want := "Field" + field.Name; constants[f] != want {
			t.Errorf("constant %d is %s, the struct says %s", f, constants[f], want)
		}
		if got := reflect.ValueOf(fields[f].at(&s)); got.Kind() != reflect.Pointer || got.Pointer() != v.Field(first+int(f)).Addr().Pointer() {
			t.Errorf("the accessor of %s gives another field", field.Name)
		}

		name := f.String()
		if !snake.MatchString(name) || names[name] {
			t.Errorf("%s: the name %q is used twice or is not snake_case", field.Name, name)
		}
		names[name] = true
		if back, ok := FieldByName(name); !ok || back != f {
			t.Errorf("FieldByName(%q) = %v, %v", name, back, ok)
		}
		if got, want := strings.HasSuffix(name, "_ns"), field.Type == reflect.TypeFor[time.Duration](); got != want {
			t.Errorf("%s: the unit in %q does not fit its type %v", field.Name, name, field.Type)
		}
		if got, want := strings.HasSuffix(name, "_bytes"), strings.HasSuffix(field.Name, "Bytes"); got != want {
			t.Errorf("%s: the unit in %q does not fit", field.Name, name)
		}
	}
	if _, ok := FieldByName("nothing"); ok {
		t.Error("FieldByName knows nothing")
	}
	if got := NumFields.String(); got != "Field(79)" {
		t.Errorf("a field out of range is called %q", got)
	}
}

func TestMissing(t *testing.T) {
	var s Sample
	if got := len(s.Missing()); got != int(NumFields) {
		t.Errorf("%d fields missing from an empty sample, want %d", got, NumFields)
	}
	for f := range NumFields {
		if f != FieldThreads && f != FieldPSICPUSomeStall {
			s.Has.Add(f)
		}
	}
	if got, want := s.Missing(), []Field{FieldThreads, FieldPSICPUSomeStall}; !reflect.DeepEqual(got, want) {
		t.Errorf("missing %v, want %v", got, want)
	}
}

func TestValue(t *testing.T) {
	s := Sample{
		HeapLiveBytes: 7, GOGCPercent: -1, LimiterFillRatio: 0.5, LimiterEnabled: true,
		PauseTotal: 1500 * time.Millisecond, LastGC: time.Unix(12, 0), RSSBytes: 3,
	}
	for _, f := range []Field{FieldHeapLiveBytes, FieldGOGCPercent, FieldLimiterFillRatio, FieldLimiterEnabled, FieldPauseTotal, FieldLastGC, FieldSchedLatency, FieldSizeClassAllocs} {
		s.Has.Add(f)
	}
	for f, want := range map[Field]float64{
		FieldHeapLiveBytes: 7, FieldGOGCPercent: -1, FieldLimiterFillRatio: 0.5, FieldLimiterEnabled: 1, FieldPauseTotal: 1.5, FieldLastGC: 12,
	} {
		if got, ok := s.Value(f); !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", f, got, ok, want)
		}
	}
	for _, f := range []Field{FieldRSSBytes, FieldSchedLatency, FieldSizeClassAllocs, NumFields} {
		if got, ok := s.Value(f); ok {
			t.Errorf("%s is %v, and should have no value", f, got)
		}
	}
}
