package term

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "nats-server", "nats-server"},
		{"unicode", "größe→", "größe→"},
		{"escape sequence", "a\x1b[2Jb", "a\ufffd[2Jb"},
		{"newline and tab", "a\nb\tc", "a b c"},
		{"invalid UTF-8", "a\xffb", "a\ufffdb"},
		{"C1 control", "a\u009bb", "a\ufffdb"},
		{"right-to-left override", "a\u202eb", "a\ufffdb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Clean(tc.in); got != tc.want {
				t.Errorf("Clean(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"abc", 0, ""}} {
		if got := Cut(tc.in, tc.n); got != tc.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tc.in, tc.n, got, tc.want)
		}
	}
}

func TestWrap(t *testing.T) {
	got := Wrap("one two  three\nfour averyveryverylongword x", "  ", 12)
	want := "  one two\n  three four\n  averyveryverylongword\n  x"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestPaint(t *testing.T) {
	if got := Painter(true).Paint(Red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("painted: %q", got)
	}
	if got := Painter(false).Paint(Red, "x"); got != "x" {
		t.Errorf("not painted: %q", got)
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, 10, true)
	p.Clear()
	if b.Len() != 0 {
		t.Errorf("clearing a line that was never shown wrote %q", b.String())
	}
	p.Show("0123456789abc")
	p.Clear()
	if want := "\r\x1b[2K01234567…\r\x1b[2K"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}

	b.Reset()
	p = NewProgress(&b, 10, false)
	p.Show("x")
	p.Clear()
	if b.Len() != 0 || p.Active() {
		t.Errorf("progress on something that is no terminal wrote %q", b.String())
	}
}

func TestSizeOfNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := Size(f); ok {
		t.Error("a file is a terminal")
	}
	if _, ok := Size(&bytes.Buffer{}); ok {
		t.Error("a buffer is a terminal")
	}
}

func TestBar(t *testing.T) {
	for _, tc := range []struct {
		done, total float64
		want        string
	}{{0, 10, "────"}, {5, 10, "━━──"}, {20, 10, "━━━━"}, {-1, 10, "────"}, {1, 0, ""}} {
		if got := Bar(tc.done, tc.total, 4); got != tc.want {
			t.Errorf("Bar(%v, %v) = %q, want %q", tc.done, tc.total, got, tc.want)
		}
	}
	if n := strings.Count(Bar(1, 3, 30), "━"); n != 10 {
		t.Errorf("a third of 30 is %d", n)
	}
}
