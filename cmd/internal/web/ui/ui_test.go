package ui_test

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/web/ui"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(ui.FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// maxBundle is what all that a browser loads may take, gzipped.
const maxBundle = 150 << 10

func TestBundleIsSmall(t *testing.T) {
	total := 0
	for _, name := range []string{"index.html", "app.js", "app.css"} {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(read(t, name)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		total += b.Len()
	}
	if total > maxBundle {
		t.Errorf("the pages take %d bytes gzipped, more than %d", total, maxBundle)
	}
}

// The pages load nothing from elsewhere. Namespaces of XML are names, not addresses.
func TestNothingComesFromElsewhere(t *testing.T) {
	address := regexp.MustCompile(`(?:https?:)?//[a-zA-Z0-9-]+\.[a-zA-Z][^"'` + "`" + `\s)]*`)
	for _, name := range []string{"index.html", "app.js", "app.css"} {
		for _, a := range address.FindAllString(string(read(t, name)), -1) {
			if !strings.HasPrefix(a, "http://www.w3.org/") {
				t.Errorf("%s names %s", name, a)
			}
		}
	}
}

// The server's content security policy forbids what stands in the page itself.
func TestPageHoldsNoScriptAndNoStyle(t *testing.T) {
	page := string(read(t, "index.html"))
	for _, re := range []string{`<script[^>]*>[^<]`, `<style`, `\sstyle=`, `\son[a-z]+=`, `javascript:`} {
		if m := regexp.MustCompile(re).FindString(page); m != "" {
			t.Errorf("index.html holds %q", m)
		}
	}
	for _, want := range []string{`src="/app.js"`, `href="/app.css"`} {
		if !strings.Contains(page, want) {
			t.Errorf("index.html lacks %s", want)
		}
	}
}

func TestLicencesOfWhatIsBundled(t *testing.T) {
	text := string(read(t, "LICENSES.txt"))
	for _, name := range []string{"preact", "uplot"} {
		if !regexp.MustCompile(`(?m)^` + name + ` \d+\.\d+\.\d+ \(`).MatchString(text) {
			t.Errorf("LICENSES.txt says nothing of %s", name)
		}
	}
}
