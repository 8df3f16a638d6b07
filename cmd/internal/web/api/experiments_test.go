package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/web"
)

func TestExperiments(t *testing.T) {
	w := newWorld(t)
	dir, other := t.TempDir(), t.TempDir()
	w.sources.Experiments = []string{dir, other, filepath.Join(dir, "none"), dir}
	text, err := os.ReadFile("../../cli/testdata/compare/tea.hwcmp")
	if err != nil {
		t.Fatal(err)
	}
	write := func(dir, name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(dir, "tea.hwcmp", text)
	write(other, "tea.hwcmp", text)
	write(dir, "broken.hwcmp", []byte("x\n"))
	write(dir, "notes.txt", text)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.hwcmp")); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Experiments []struct {
			ID, Name, File string
			Verdict, Error *string
			Time           time.Time
			Variants       []string
			Goal           *string
		}
	}
	w.get("experiments", &list)
	if len(list.Experiments) != 3 {
		t.Fatalf("got %+v", list)
	}
	seen := map[string]bool{}
	good := ""
	for _, e := range list.Experiments {
		if seen[e.ID] {
			t.Errorf("two are called %s", e.ID)
		}
		seen[e.ID] = true
		if e.File == "broken.hwcmp" {
			if e.Error == nil || e.Verdict != nil {
				t.Errorf("a broken one: %+v", e)
			}
			w.refused("experiments/"+e.ID, 422, "broken.hwcmp does not begin as a result does")
			if strings.Contains(*e.Error, dir) {
				t.Errorf("who looks is told of %s", *e.Error)
			}
			continue
		}
		if e.Verdict == nil || e.Name == "" || len(e.Variants) < 2 || e.Time.IsZero() || e.Goal == nil {
			t.Errorf("got %+v", e)
		}
		good = e.ID
	}
	var d struct {
		Schema  string
		Metrics []struct{ Name string }
	}
	if w.get("experiments/"+good, &d); d.Schema != "heapwright.compare/1" || len(d.Metrics) == 0 {
		t.Errorf("got %+v", d)
	}
	res := w.send(Handler(w.sources), "GET", "experiments/"+good+"/report", "", web.Reader)
	page, policy := res.Body.String(), res.Header().Get("Content-Security-Policy")
	if res.Code != 200 || !strings.HasPrefix(page, "<!") || res.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %.60s", res.Code, page)
	}
	if !strings.HasPrefix(policy, "sandbox allow-scripts;") || strings.Contains(policy, "allow-same-origin") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "script-src 'sha256-") {
		t.Errorf("the page may do %s", policy)
	}
	for _, id := range []string{"..%2f..%2fetc%2fpasswd", "tea", "tea.hwcmp", "%00", strings.Repeat("x", 5000)} {
		w.refused("experiments/"+id, 404, "no experiment")
		w.refused("experiments/"+id+"/report", 404, "no experiment")
	}
	// One that grew is read again.
	w.sources.Experiments = nil
	if w.get("experiments", &list); len(list.Experiments) != 0 {
		t.Errorf("without directories: %+v", list)
	}
}
