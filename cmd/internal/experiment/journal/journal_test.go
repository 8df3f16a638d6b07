package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func header() experiment.Header {
	const text = "schema: heapwright.experiment/1\n"
	return experiment.Header{
		Schema: experiment.ResultSchema, Tool: "heapwright test", Started: epoch, PlanText: text, PlanHash: hash(text),
		Plan:   &experiment.Plan{Name: "x", Variants: []experiment.Variant{{Name: "a"}, {Name: "b"}}},
		Builds: []experiment.Build{{Variant: 0}, {Variant: 1}}, Knee: &experiment.Knee{Tries: []experiment.KneeTry{{Variant: 1}}},
		Forecasts: map[int]map[string]experiment.Forecast{1: {"gc_cpu_ratio": {Ratio: 1}}},
	}
}

func block(n int) experiment.Block {
	return experiment.Block{
		N: n, Phase: experiment.PhaseDuet, Design: experiment.Duet, Round: n / 2, Start: epoch.Add(time.Duration(n) * time.Second), Seconds: 6,
		Arms: []experiment.Arm{{Variant: n % 2, Values: map[string]float64{"gc_cpu_ratio": 0.01 * float64(n+1)}}, {Variant: 1 - n%2, Slot: 1}},
	}
}

func ending(how string) experiment.Ending {
	return experiment.Ending{Time: epoch.Add(time.Hour), How: how,
		Verdict: &experiment.Verdict{Outcome: experiment.Pass, Comparisons: []experiment.Comparison{{Variant: 1}}, Front: []int{0, 1}}}
}

// whole writes a result with some blocks, and returns its path and text.
func whole(t testing.TB, how string) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.hwcmp")
	j, err := Create(path, header())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		check(t, j.Block(block(n)))
	}
	check(t, j.Look(experiment.Look{Pairs: 10, Time: epoch, Stopped: []int{1}}))
	if how != "" {
		check(t, j.End(ending(how)))
	}
	check(t, j.Close())
	text, err := os.ReadFile(path)
	check(t, err)
	return path, text
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read is Read without a file.
func read(text []byte) (*experiment.Result, error) {
	r := reader{path: "x.hwcmp"}
	err := r.read(bytes.NewReader(text))
	return &r.result, err
}

func TestRoundTrip(t *testing.T) {
	path, text := whole(t, experiment.EndDecided)
	got, sum, err := ReadSum(path)
	check(t, err)
	end := ending(experiment.EndDecided)
	want := &experiment.Result{Header: header(), Blocks: []experiment.Block{block(0), block(1), block(2)},
		Looks: []experiment.Look{{Pairs: 10, Time: epoch, Stopped: []int{1}}}, Ending: &end}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v\nwrote\n%+v", got, want)
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != 6 || !bytes.HasPrefix(lines[5], []byte(`{"sum":"`+sum+`","kind":"end","body":{`)) {
		t.Errorf("%d lines, sum %s, the last is %.120s", len(lines), sum, lines[5])
	}
}

// Wherever a run is cut off, what it had kept is there, and nothing is taken for
// whole that is not.
func TestCutAnywhere(t *testing.T) {
	path, text := whole(t, experiment.EndDecided)
	for n := range text {
		lines := bytes.Count(text[:n], []byte("\n"))
		got, err := read(text[:n])
		if lines == 0 {
			if err == nil || errors.As(err, new(*TamperedError)) || !strings.Contains(err.Error(), "no whole line") {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if err != nil || len(got.Blocks) != min(lines-1, 3) || got.Ending != nil {
			t.Fatalf("cut at %d: %v, %+v", n, err, got)
		}
		// The disk is slow: near the ends of lines, and here and there.
		if near := text[max(n-2, 0):min(n+2, len(text))]; !bytes.Contains(near, []byte("\n")) && n%500 > 0 {
			continue
		}
		check(t, os.WriteFile(path, text[:n], 0o644))
		j, resumed, err := Resume(path)
		if err != nil || !reflect.DeepEqual(resumed, got) {
			t.Fatalf("cut at %d: resumed with %v, %+v", n, err, resumed)
		}
		for b := len(got.Blocks); b < 3; b++ {
			check(t, j.Block(block(b)))
		}
		check(t, j.End(ending(experiment.EndDecided)))
		check(t, j.Close())
		if got, err = Read(path); err != nil || len(got.Blocks) != 3 || got.Ending == nil {
			t.Fatalf("cut at %d, and resumed: %v, %+v", n, err, got)
		}
	}
}

// A byte that was changed, in whatever way, is seen.
func TestChangedByte(t *testing.T) {
	_, text := whole(t, experiment.EndDecided)
	for i := range text {
		for _, flip := range []byte{1, 0x20, 0x80}[:1+2*(i%5/4)] {
			changed := bytes.Clone(text)
			changed[i] ^= flip
			got, err := read(changed)
			if i == len(text)-1 {
				// Without its newline the last line is one that was cut off.
				if err != nil || got.Ending != nil {
					t.Fatalf("no newline at the end: %v", err)
				}
				continue
			}
			if err == nil {
				t.Fatalf("byte %d of %q changed, and not seen: %+v", i, text[max(i-10, 0):i+1], got)
			}
			var tampered *TamperedError
			line := bytes.Count(text[:i], []byte("\n")) + 1
			if errors.As(err, &tampered) && tampered.Line != line {
				t.Fatalf("byte %d is in line %d, not %d: %v", i, line, tampered.Line, err)
			} else if tampered == nil && line > 1 {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

func TestChangedLines(t *testing.T) {
	path, text := whole(t, experiment.EndDecided)
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	long := append(bytes.Repeat([]byte(" "), maxLine), '\n')
	resum := func(upto int, kind, body string) [][]byte {
		before, _, _, _ := decode(lines[upto-1])
		return append(append([][]byte{}, lines[:upto]...), encode(chain(before, kind, []byte(body)), kind, []byte(body)))
	}
	for _, tc := range []struct {
		name  string
		lines [][]byte
		line  int
		why   string
	}{
		{"taken out", [][]byte{lines[0], lines[2], lines[3]}, 2, "the sum"},
		{"twice", [][]byte{lines[0], lines[1], lines[1]}, 3, "the sum"},
		{"swapped", [][]byte{lines[0], lines[2], lines[1]}, 2, "the sum"},
		{"after the end", append(append([][]byte{}, lines...), lines[1]), 7, "the sum"},
		{"blank", [][]byte{lines[0], []byte("\n")}, 2, "the form"},
		{"long", [][]byte{lines[0], long}, 2, "longer"},
		{"spaces", [][]byte{lines[0], bytes.Replace(lines[1], []byte(":"), []byte(": "), 1)}, 2, "the form"},
		// With sums made anew, what makes no sense is still refused.
		{"second header", resum(2, kindHeader, `{}`), 3, "second header"},
		{"number", resum(2, kindBlock, `{"n":7}`), 3, "number 7"},
		{"variant", resum(2, kindBlock, `{"n":1,"arms":[{"variant":2}]}`), 3, "variant 2 of 2"},
		{"negative variant", resum(2, kindBlock, `{"n":1,"arms":[{"variant":-1}]}`), 3, "variant -1"},
		{"slot", resum(2, kindBlock, `{"n":1,"arms":[{"slot":2}]}`), 3, "slot 2"},
		{"arms", resum(2, kindBlock, `{"n":1,"arms":[{},{},{}]}`), 3, "3 arms"},
		{"round", resum(2, kindBlock, `{"n":1,"round":-1}`), 3, "no place"},
		{"seconds", resum(2, kindBlock, `{"n":1,"seconds":-1}`), 3, "no length"},
		{"JSON", resum(2, kindBlock, `{"n":`), 3, "makes no sense"},
		{"two values", resum(2, kindBlock, `{"n":1}{"n":1}`), 3, "makes no sense"},
		{"look", resum(2, kindLook, `{"stopped":[9]}`), 3, "variant 9"},
		{"end", resum(2, kindEnd, `{"verdict":{"comparisons":[{"variant":9}]}}`), 3, "variant 9"},
		{"front", resum(2, kindEnd, `{"verdict":{"pareto":[9]}}`), 3, "variant 9"},
		{"after an end", resum(6, kindBlock, `{"n":3}`), 7, "follows the end"},
	} {
		check(t, os.WriteFile(path, bytes.Join(tc.lines, nil), 0o644))
		_, err := Read(path)
		var tampered *TamperedError
		if !errors.As(err, &tampered) || tampered.Line != tc.line || !strings.Contains(tampered.Why, tc.why) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if _, _, err := Resume(path); !errors.As(err, &tampered) {
			t.Errorf("%s: resumed: %v", tc.name, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, bytes.Join(tc.lines, nil)) {
			t.Errorf("%s: a file that was refused was written to", tc.name)
		}
	}
}

func TestHeaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.hwcmp")
	for _, tc := range []struct {
		name   string
		change func(*experiment.Header)
		want   string
	}{
		{"schema", func(h *experiment.Header) { h.Schema = "heapwright.result/2" }, "this heapwright reads heapwright.result/1"},
		{"no plan", func(h *experiment.Header) { h.Plan = nil }, "no plan"},
		{"one variant", func(h *experiment.Header) { h.Plan.Variants = h.Plan.Variants[:1] }, "no plan"},
		{"plan text", func(h *experiment.Header) { h.PlanText += "# easier\n" }, "not the one that was hashed"},
		{"build", func(h *experiment.Header) { h.Builds[1].Variant = 2 }, "variant 2"},
		{"knee", func(h *experiment.Header) { h.Knee.Tries[0].Variant = -3 }, "variant -3"},
		{"forecast", func(h *experiment.Header) { h.Forecasts[5] = nil }, "variant 5"},
	} {
		h := header()
		tc.change(&h)
		j := &Journal{path: path}
		f, err := os.Create(path)
		check(t, err)
		j.f = f
		check(t, j.append(kindHeader, h))
		check(t, j.Close())
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for name, text := range map[string]string{"binary": "\x7fELF\n", "JSON": "{}\n", "another line first": string(encode(chain("", kindBlock, []byte("{}")), kindBlock, []byte("{}")))} {
		check(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "does not begin as a result does") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownIsIgnored(t *testing.T) {
	path, text := whole(t, "")
	line := text[:bytes.IndexByte(text, '\n')+1]
	sum, _, _, _ := decode(line)
	for _, l := range []struct{ kind, body string }{{"weather", `[1]`}, {kindBlock, `{"n":0,"moon":"full"}`}} {
		sum = chain(sum, l.kind, []byte(l.body))
		line = append(line, encode(sum, l.kind, []byte(l.body))...)
	}
	check(t, os.WriteFile(path, line, 0o644))
	if got, err := Read(path); err != nil || len(got.Blocks) != 1 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.hwcmp")
	j, err := Create(path, header())
	check(t, err)
	if _, err := Create(path, header()); err == nil || !strings.Contains(err.Error(), "exists, and is not overwritten") {
		t.Errorf("created twice: %v", err)
	}
	if _, _, err := Resume(path); !errors.Is(err, ErrBusy) {
		t.Errorf("resumed while it is written: %v", err)
	}
	check(t, j.Block(block(0)))
	// Reading waits for nobody.
	if got, err := Read(path); err != nil || len(got.Blocks) != 1 {
		t.Errorf("%v, %+v", err, got)
	}
	check(t, j.Close())
	second, got, err := Resume(path)
	if err != nil || len(got.Blocks) != 1 {
		t.Fatalf("%v, %+v", err, got)
	}
	check(t, second.Close())
}

func TestResumeAfterAnEnd(t *testing.T) {
	for _, how := range []string{experiment.EndDecided, experiment.EndLooks, experiment.EndRefused} {
		path, _ := whole(t, how)
		var finished *FinishedError
		if _, _, err := Resume(path); !errors.As(err, &finished) || finished.How != how {
			t.Errorf("%s: %v", how, err)
		}
	}
	for _, how := range []string{experiment.EndInterrupted, experiment.EndBudget} {
		path, _ := whole(t, how)
		j, got, err := Resume(path)
		if err != nil || got.Ending != nil || len(got.Blocks) != 3 {
			t.Fatalf("%s: %v, %+v", how, err, got)
		}
		check(t, j.Block(block(3)))
		if got, err = Read(path); err != nil || got.Ending != nil || len(got.Blocks) != 4 {
			t.Errorf("%s, going on: %v, %+v", how, err, got)
		}
		check(t, j.End(ending(experiment.EndLooks)))
		check(t, j.Close())
		if got, err = Read(path); err != nil || got.Ending == nil || got.Ending.How != experiment.EndLooks {
			t.Errorf("%s, and at the end: %v", how, err)
		}
	}
}

// A faulty file takes so many bytes, and then fails.
type faulty struct {
	*os.File
	room int
	err  error
	dead bool // it cannot be cut back either
}

func (f *faulty) Write(p []byte) (int, error) {
	if len(p) <= f.room {
		f.room -= len(p)
		return f.File.Write(p)
	}
	n, _ := f.File.Write(p[:f.room])
	f.room = 0
	return n, f.err
}

func (f *faulty) Truncate(size int64) error {
	if f.dead {
		return f.err
	}
	return f.File.Truncate(size)
}

func TestFullDisk(t *testing.T) {
	for _, tc := range []struct {
		err  error
		dead bool
		full bool
	}{{syscall.ENOSPC, false, true}, {syscall.ENOSPC, true, true}, {syscall.EDQUOT, false, true}, {syscall.EIO, false, false}} {
		path := filepath.Join(t.TempDir(), "x.hwcmp")
		j, err := Create(path, header())
		check(t, err)
		check(t, j.Block(block(0)))
		j.f = &faulty{File: j.f.(*os.File), room: 100, err: &os.PathError{Op: "write", Path: path, Err: tc.err}, dead: tc.dead}
		err = j.Block(block(1))
		var full *FullError
		if !errors.Is(err, tc.err) || errors.As(err, &full) != tc.full {
			t.Fatalf("%v: %v", tc.err, err)
		}
		if tc.full && (err.Error() != "there is no room for "+path+": "+tc.err.Error()+"; what was measured before is kept" || full.Hint() == "") {
			t.Errorf("%v: %v", tc.err, err)
		}
		j.f.(*faulty).room = 1 << 20
		if again := j.Block(block(1)); again != err {
			t.Errorf("after an error: %v", again)
		}
		check(t, j.Close())
		got, rerr := Read(path)
		if rerr != nil || len(got.Blocks) != 1 || got.Ending != nil {
			t.Errorf("%v: %v, %+v", tc.err, rerr, got)
		}
		j, _, err = Resume(path)
		check(t, err)
		check(t, j.Block(block(1)))
		check(t, j.Close())
		if got, err = Read(path); err != nil || len(got.Blocks) != 2 {
			t.Errorf("%v, with room again: %v", tc.err, err)
		}
	}
}

func TestCreateFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "no", "x.hwcmp"), header()); err == nil {
		t.Error("created in a directory that is not there")
	}
	h := header()
	h.PlanText = strings.Repeat("x", maxLine)
	if _, err := Create(filepath.Join(dir, "x.hwcmp"), h); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	path := filepath.Join(dir, "x.hwcmp")
	if _, _, err := Resume(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	check(t, os.WriteFile(path, []byte(`{"sum":"`), 0o644))
	if _, _, err := Resume(path); err == nil || !strings.Contains(err.Error(), "no whole line") {
		t.Errorf("resumed without a header: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, how := range []string{"", experiment.EndDecided, experiment.EndBudget} {
		_, text := whole(f, how)
		f.Add(text, true)
		f.Add(text[:len(text)-9], false)
	}
	f.Fuzz(func(t *testing.T, text []byte, resum bool) {
		if resum {
			text = resummed(text)
		}
		r := reader{path: "x"}
		if err := r.read(bytes.NewReader(text)); err != nil {
			return
		}
		if r.result.Header.Plan == nil || r.size > int64(len(text)) || text[r.size-1] != '\n' {
			t.Errorf("accepted %q: size %d, %+v", text, r.size, r.result)
		}
		for i, b := range r.result.Blocks {
			if b.N != i {
				t.Errorf("block %d is number %d", i, b.N)
			}
		}
	})
}

// resummed gives every line that has the form the sum that it should have, so that
// the fuzzer comes to what is behind the sums.
func resummed(text []byte) []byte {
	var out []byte
	var sum string
	for line := range bytes.SplitAfterSeq(text, []byte("\n")) {
		if _, kind, body, ok := decode(line); ok {
			sum = chain(sum, kind, body)
			line = encode(sum, kind, body)
		}
		out = append(out, line...)
	}
	return out
}

func ExampleTamperedError() {
	fmt.Println(&TamperedError{"result.hwcmp", 7, "does not have the sum that it had"})
	// Output: result.hwcmp was changed after it was written: line 7 does not have the sum that it had
}
