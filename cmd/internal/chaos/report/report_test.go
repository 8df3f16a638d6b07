package report

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; -update rewrites it. Got:\n%s", path, got)
	}
}

func TestText(t *testing.T) {
	r, v := synth()
	for _, width := range []int{80, 120} {
		var b strings.Builder
		if err := Text(&b, r, v, width, false); err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("text-%d.txt", width), b.String())
		for _, l := range strings.Split(b.String(), "\n") {
			if term.Width(l) > width {
				t.Errorf("%d columns of %d: %q", term.Width(l), width, l)
			}
		}
	}
}

func TestHTML(t *testing.T) {
	r, v := synth()
	var b strings.Builder
	if err := HTML(&b, r, v); err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("STRESS_REPORT"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "synth.html"), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(b.Len())
}
