package pclntab_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	targettest.Cleanup()
	os.Exit(code)
}

// TestFramesAgainstTarget compares what the table says of many addresses with
// what the program itself says of them.
func TestFramesAgainstTarget(t *testing.T) {
	for _, v := range targettest.Toolchains {
		for _, flags := range [][]string{nil, {"-buildmode=pie"}} {
			if flags != nil && v != targettest.Local {
				continue
			}
			t.Run(fmt.Sprint(v, flags), func(t *testing.T) {
				tg := targettest.Start(t, targettest.Build(t, v, flags...))
				tab := tg.Table()
				// Whole spans of code, and addresses all over the program.
				checked := compareFrames(t, tg, tab, tg.Text, tg.Text+20000, 1)
				checked += compareFrames(t, tg, tab, tg.EText-20000, tg.EText, 1)
				checked += compareFrames(t, tg, tab, tg.Text, tg.EText, uint64(200+rand.IntN(200)))
				if checked < 40000 {
					t.Errorf("only %d lines compared", checked)
				}
			})
		}
	}
}

func compareFrames(t *testing.T, tg *targettest.Target, tab *pclntab.Table, start, end, step uint64) int {
	t.Helper()
	answer := tg.Ask(t, "frames %d %d %d", start, end, step)
	// Until Go 1.22 CallersFrames expects its input to hold an address for each
	// inlined call, and shows only the innermost of an address that stands alone.
	innermostOnly := tg.GoVersion() < "go1.23"
	var want, got bytes.Buffer
	sc := bufio.NewScanner(bytes.NewReader(answer))
	lines := 0
	flush := func(pc uint64) {
		for i, f := range tab.Frames(pc) {
			if i > 0 && innermostOnly {
				break
			}
			fmt.Fprintf(&got, "%d %s %s %d\n", pc, f.Func, f.File, f.Line)
		}
		if f, ok := tab.FuncForPC(pc); ok {
			fmt.Fprintf(&got, "%d func %s %d\n", pc, tab.FuncName(pc), f.Entry)
		}
		if !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Fatalf("at %#x got\n%swant\n%s", pc, &got, &want)
		}
		want.Reset()
		got.Reset()
	}
	var at uint64
	for sc.Scan() {
		var pc uint64
		if _, err := fmt.Sscan(sc.Text(), &pc); err != nil {
			t.Fatal(err)
		}
		if pc != at && at != 0 {
			flush(at)
		}
		at = pc
		lines++
		want.WriteString(sc.Text() + "\n")
	}
	if at != 0 {
		flush(at)
	}
	return lines
}
