package jsonl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAppendAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "values.jsonl")
	if got, err := Read[string](path); err != nil || got != nil {
		t.Fatalf("a file that is not there: %v, %v", got, err)
	}
	want := []string{"one", "two\nlines", ""}
	for _, v := range want {
		if err := Append(path, v); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Read[string](path); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(path, []byte("\"one\"\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Read[string](path); err == nil || !strings.Contains(err.Error(), "line 2") || got != nil {
		t.Errorf("a broken line: %q, %v", got, err)
	}
	if _, err := Read[string](t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}
