package gctrace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// split sends in to a Splitter in parts that end at the given lengths, over and
// over, and returns what it did, in order: forwarded bytes, and lines taken.
func split(t testing.TB, in []byte, parts ...byte) (out []byte, lines []string, all []byte) {
	t.Helper()
	var s *Splitter
	var own, order bytes.Buffer
	s = NewSplitter(writerFunc(func(p []byte) (int, error) {
		own.Write(p)
		order.Write(p)
		return len(p), nil
	}), func(line []byte) {
		lines = append(lines, string(line))
		order.Write(line)
	})
	for i := 0; len(in) > 0; i++ {
		n := len(in)
		if len(parts) > 0 {
			n = min(n, int(parts[i%len(parts)])+1)
		}
		if wrote, err := s.Write(in[:n]); wrote != n || err != nil {
			t.Fatalf("wrote %d of %d, %v", wrote, n, err)
		}
		if cap(s.held) > 2*maxLine+4096 {
			t.Fatalf("%d bytes are held back", cap(s.held))
		}
		in = in[n:]
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return own.Bytes(), lines, order.Bytes()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestSplitter(t *testing.T) {
	for _, test := range []struct {
		name, in, own string
		lines         int
	}{
		{name: "nothing"},
		{name: "all kinds", in: gc1 + gc2 + gc5 + pacer1 + ratio + scav + scav20 + sweep + forced, lines: 9},
		{name: "between the program's lines", in: "a\n" + gc1 + "b\n\n" + scav + "c", own: "a\nb\n\nc", lines: 2},
		{name: "after the beginning of a line", in: "progress... " + gc1 + gc2, own: "progress... " + gc1, lines: 1},
		{name: "cut in two", in: gc1[:40] + "log line\n" + gc1[40:] + gc2, own: gc1[:40] + "log line\n" + gc1[40:], lines: 1},
		{name: "cut short", in: gc1[:40], own: gc1[:40]},
		{name: "cut by a newline", in: gc1[:40] + "\n" + gc2, own: gc1[:40] + "\n", lines: 1},
		{name: "with more at its end", in: strings.TrimSuffix(gc1, "\n") + " x\n", own: strings.TrimSuffix(gc1, "\n") + " x\n"},
		{name: "with a carriage return", in: strings.TrimSuffix(gc1, "\n") + "\r\n", own: strings.TrimSuffix(gc1, "\n") + "\r\n"},
		{name: "quoted", in: "> " + gc1, own: "> " + gc1},
		{name: "other words", in: "gc is slow\nscav\npacer: what?\nGC forced by me\n", own: "gc is slow\nscav\npacer: what?\nGC forced by me\n"},
		{name: "no number", in: strings.Replace(gc1, "gc 1 ", "gc  ", 1), own: strings.Replace(gc1, "gc 1 ", "gc  ", 1)},
		{name: "too large a number", in: strings.Replace(gc1, "gc 1 ", "gc 18446744073709551616 ", 1), own: strings.Replace(gc1, "gc 1 ", "gc 18446744073709551616 ", 1)},
		{name: "half a number", in: strings.Replace(gc1, "0.25", "0..25", 1), own: strings.Replace(gc1, "0.25", "0..25", 1)},
		{name: "binary", in: "\x00\xff\n\x00" + gc1 + gc2 + "\xff", own: "\x00\xff\n\x00" + gc1 + "\xff", lines: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, parts := range [][]byte{nil, {0}, {1}, {0, 2, 30}, {200}} {
				own, lines, all := split(t, []byte(test.in), parts...)
				if string(own) != test.own || len(lines) != test.lines || string(all) != test.in {
					t.Errorf("in parts of %v: %q is forwarded and %d lines taken, want %q and %d", parts, own, len(lines), test.own, test.lines)
				}
			}
		})
	}
}

// What can't be the trace is not held back.
func TestSplitterForwardsAtOnce(t *testing.T) {
	for _, text := range []string{"x", "password: ", "gcc failed", "scavenging", "\n", gc1 + "gx", "GC forces", strings.Repeat("x", 1<<20), "gc " + strings.Repeat("1", 1<<20)} {
		var own bytes.Buffer
		s := NewSplitter(&own, nil)
		s.Write([]byte(text))
		if want := strings.TrimPrefix(text, gc1); own.String() != want {
			t.Errorf("of %.20q %d bytes are forwarded at once, want %d", text, own.Len(), len(want))
		}
	}
}

func TestSplitterForwardsTheTraceToo(t *testing.T) {
	var own bytes.Buffer
	n := 0
	s := NewSplitter(&own, func([]byte) { n++ })
	s.Forward = true
	in := "a\n" + gc1 + "b\n" + scav
	for _, b := range []byte(in) {
		s.Write([]byte{b})
	}
	if own.String() != in || n != 2 {
		t.Errorf("%q is forwarded, %d lines read", own.String(), n)
	}
}

func TestSplitterError(t *testing.T) {
	broken := errors.New("broken pipe")
	writes, lines := 0, 0
	s := NewSplitter(writerFunc(func(p []byte) (int, error) { writes++; return 0, broken }), func([]byte) { lines++ })
	for range 2 {
		if _, err := s.Write([]byte("a\n" + gc1)); err != broken {
			t.Errorf("error %v, want %v", err, broken)
		}
	}
	if err := s.Flush(); err != broken || writes != 1 || lines != 2 {
		t.Errorf("error %v, %d writes, %d lines of the trace", err, writes, lines)
	}
}

// One expression for all lines of the trace, written independently of the
// patterns.
var traceLine = regexp.MustCompile(`^(gc \d+ @[\d.]+s -?\d+%( \(checking for goroutine leaks\))?: [\d.+]+ ms clock, [\d.+/]+ ms cpu, \d+->\d+->\d+ MB, \d+ MB goal, \d+ MB stacks, \d+ MB globals, \d+ P( \(forced\))?` +
	`|pacer: assist ratio=[-+.e0-9NaInf]+ \(scan \d+ MB in \d+->\d+ MB\) workers=-?\d+\+[-+.e0-9NaInf]+` +
	`|pacer: -?\d+% CPU \(\d+ exp\.\) for [-+\d]+ B work \(\d+ B exp\.\) in \d+ B -> \d+ B \(∆goal -?\d+, cons/mark [-+.e0-9NaInf]+\)` +
	`|pacer: sweep done at heap size \d+MB; allocated \d+MB during sweep; swept \d+ pages at [-+.e0-9NaInf]+ pages/byte` +
	`|scav \d+ KiB work( \(bg\), \d+ KiB work \(eager\))?, \d+ KiB (total|now), \d+% util( \(forced\)| \[controller reset\])?` +
	`|GC forced)\n$`)

// What is forwarded and what is taken is the input, in order; only lines of the
// trace are taken; and it does not matter in what parts the input comes.
func FuzzSplitter(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in[:min(len(in), 1500)], []byte{7, 1})
	}
	f.Add([]byte("a"+gc1+gc1[:40]+"b\n"+gc1[40:]+forced+scav), []byte{0, 40})
	f.Add([]byte("gc 1\n\ngc "), []byte{})
	f.Fuzz(func(t *testing.T, in, parts []byte) {
		own, lines, all := split(t, in, parts...)
		if !bytes.Equal(all, in) {
			t.Fatalf("the output and the lines taken are %q, the input is %q", all, in)
		}
		p := NewParser(start)
		for _, line := range lines {
			if !traceLine.MatchString(line) {
				t.Fatalf("%q was taken", line)
			}
			var c Cycle
			if p.Line([]byte(line), &c) && (c.N == 0 || c.Pause < 0 || c.End.Before(start)) {
				t.Fatalf("%q gives %+v", line, c)
			}
		}
		whole, again, _ := split(t, in)
		if !bytes.Equal(own, whole) || fmt.Sprint(lines) != fmt.Sprint(again) {
			t.Fatalf("in parts %q is forwarded, at once %q", own, whole)
		}
	})
}
