package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// An event is a line of go test -json; see go doc cmd/test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output, in place of Package
	Test       string
	Elapsed    float64 // seconds, of what has ended
	Output     string
}

// A summary gathers what the events of any number of packages come to.
type summary struct {
	w                       io.Writer
	passed, failed, skipped int
	failures                []failure          // in order
	grave                   bool               // a data race or a panic was among them
	unsteady                []string           // tests that failed, and passed when they were run again
	reasons                 map[string][]skip  // of skips, and the tests that gave them
	took                    map[string]float64 // seconds by test, of the slow ones, the most where one ran again
	running                 map[string]*pkg
	builds                  map[string][]string // output of the compiler by import path
}

// A skip is a test that skipped.
type skip struct{ pkg, test string }

// A failure is a test that failed, or, without a test, a package or what else did.
type failure struct{ pkg, test string }

func (f failure) String() string {
	if f.test == "" {
		return f.pkg
	}
	return f.pkg + "." + f.test
}

// A pkg is a package whose tests run.
type pkg struct {
	output []string // of no test
	tests  map[string]*test
	failed bool // some test of it did
}

type test struct {
	output      []string
	parent      bool // it has subtests
	failedBelow bool // one of them failed
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, reasons: map[string][]skip{}, took: map[string]float64{}, running: map[string]*pkg{}, builds: map[string][]string{}}
}

func (s *summary) ok() bool { return s.failed == 0 }

// read takes the events of one go test -json. Lines that are none pass through.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprintln(s.w, strings.TrimSuffix(line, "\n"))
			} else {
				s.event(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) event(e event) {
	if e.Action == "build-output" {
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
		return
	}
	if e.Action == "build-fail" {
		fmt.Fprint(s.w, strings.Join(s.builds[e.ImportPath], ""))
		delete(s.builds, e.ImportPath)
		return
	}
	if grave.MatchString(e.Output) {
		s.grave = true
	}
	p := s.running[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		s.running[e.Package] = p
	}
	if e.Test == "" {
		s.packageEvent(p, e)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
	}
	switch e.Action {
	case "run":
		if parent := p.tests[parentOf(e.Test)]; parent != nil {
			parent.parent = true
		}
	case "output":
		t.output = append(t.output, e.Output)
	case "pass":
		if !t.parent {
			s.passed++
		}
		s.time(t, e)
		t.output = nil
	case "skip":
		s.skipped++
		why := reason(t.output)
		s.reasons[why] = append(s.reasons[why], skip{e.Package, e.Test})
		t.output = nil
	case "fail":
		p.failed = true
		if parent := p.tests[parentOf(e.Test)]; parent != nil {
			parent.failedBelow = true
		}
		if !t.failedBelow {
			s.fail(e.Package, e.Test)
		}
		s.time(t, e)
		s.show(t.output)
		t.output = nil
	}
}

// slow is from when on a test is worth naming, in seconds.
const slow = 1

// time keeps how long a test took. What a test with subtests took is theirs, or, where
// they are parallel, has none of it.
func (s *summary) time(t *test, e event) {
	if name := (failure{e.Package, e.Test}).String(); !t.parent && e.Elapsed >= slow {
		s.took[name] = max(s.took[name], e.Elapsed)
	}
}

func (s *summary) packageEvent(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
		return
	case "fail":
		// The output of a test that was still running says where it stood.
		for _, name := range slices.Sorted(maps.Keys(p.tests)) {
			s.show(p.tests[name].output)
		}
		s.show(p.output)
		if !p.failed {
			s.fail(e.Package, "")
		}
	case "skip": // it has no tests
	case "pass":
		for _, line := range p.output {
			if closing.MatchString(line) {
				fmt.Fprint(s.w, line)
			}
		}
	default:
		return
	}
	delete(s.running, e.Package)
}

// closing matches the line that go test ends a package with.
var closing = regexp.MustCompile(`^(?:ok  |FAIL)\t`)

// grave matches what is wrong however seldom it happens.
var grave = regexp.MustCompile(`^(?:WARNING: DATA RACE|panic: |fatal error: )`)

// noise matches what test2json's verbose mode adds to the output of a test.
var noise = regexp.MustCompile(`^\s*=== (?:RUN|PAUSE|CONT|NAME) `)

func (s *summary) show(output []string) {
	for _, line := range output {
		if !noise.MatchString(line) {
			fmt.Fprint(s.w, line)
		}
	}
}

func (s *summary) fail(pkg, test string) {
	s.failed++
	s.failures = append(s.failures, failure{pkg, test})
}

// takeFailedTests takes out, as if they had not run, the failures from one on, and
// returns their tests by package, whole ones for their subtests. It takes none if
// more than most tests failed, or anything that is not a test, or if there was a data
// race or a panic.
func (s *summary) takeFailedTests(from, most int) map[string][]string {
	out, n := map[string][]string{}, 0
	if s.grave {
		return nil
	}
	for _, f := range s.failures[from:] {
		if f.test == "" {
			return nil
		}
		whole, _, _ := strings.Cut(f.test, "/")
		if !slices.Contains(out[f.pkg], whole) {
			out[f.pkg] = append(out[f.pkg], whole)
			n++
		}
	}
	if n > most {
		return nil
	}
	s.failed -= len(s.failures) - from
	s.failures = s.failures[:from]
	return out
}

// parentOf returns the test that a subtest belongs to, "" for none.
func parentOf(test string) string {
	i := strings.LastIndexByte(test, '/')
	return test[:max(i, 0)]
}

// logged matches the first line of what a test logs.
var logged = regexp.MustCompile(`^\s*[^\s:]+\.go:\d+: (.*)`)

// reason returns the last thing that a skipped test logged.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		if m := logged.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil && m[1] != "" {
			return m[1]
		}
	}
	return "(no reason given)"
}

// takeRaceSkips takes out, as if they had not run, the tests that skipped because
// of the race detector, and returns their names by package. A subtest is named by
// the whole test that it belongs to.
func (s *summary) takeRaceSkips() map[string][]string {
	out := map[string][]string{}
	for why, skips := range s.reasons {
		if !strings.Contains(why, "race detector") {
			continue
		}
		for _, k := range skips {
			whole, _, _ := strings.Cut(k.test, "/")
			if !slices.Contains(out[k.pkg], whole) {
				out[k.pkg] = append(out[k.pkg], whole)
			}
		}
		s.skipped -= len(skips)
		delete(s.reasons, why)
	}
	return out
}

// maxNames bounds how many tests are named for one reason.
const maxNames = 3

// maxSlowest bounds how many of the slow tests are named.
const maxSlowest = 10

func (s *summary) print() {
	if len(s.failures) > 0 {
		fmt.Fprintln(s.w, "\nfailed:")
		for _, name := range s.failures {
			fmt.Fprintf(s.w, "  %v\n", name)
		}
	}
	if len(s.unsteady) > 0 {
		fmt.Fprintln(s.w, "\nfailed, and passed when run again alone:")
		for _, name := range s.unsteady {
			fmt.Fprintln(s.w, "  "+name)
		}
	}
	if len(s.reasons) > 0 {
		fmt.Fprintln(s.w, "\nskipped:")
		why := slices.SortedFunc(maps.Keys(s.reasons), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(s.reasons[b]), len(s.reasons[a])), cmp.Compare(a, b))
		})
		for _, r := range why {
			names := s.reasons[r]
			fmt.Fprintf(s.w, "%5d  %s\n", len(names), r)
			for _, name := range names[:min(len(names), maxNames)] {
				fmt.Fprintf(s.w, "         %s.%s\n", name.pkg, name.test)
			}
			if more := len(names) - maxNames; more > 0 {
				fmt.Fprintf(s.w, "         and %d more\n", more)
			}
		}
	}
	if len(s.took) > 0 {
		fmt.Fprintln(s.w, "\nslowest:")
		names := slices.SortedFunc(maps.Keys(s.took), func(a, b string) int {
			return cmp.Or(cmp.Compare(s.took[b], s.took[a]), cmp.Compare(a, b))
		})
		for _, name := range names[:min(len(names), maxSlowest)] {
			fmt.Fprintf(s.w, "%7.1f s  %s\n", s.took[name], name)
		}
	}
	fmt.Fprintf(s.w, "\n%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
