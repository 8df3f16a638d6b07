package cgroup2

import (
	"bufio"
	"bytes"
	"regexp"
	"strings"
)

// Tests are what tests say with -test.v.
type Tests struct {
	Passed  int
	Failed  []string
	Skipped map[string]string // name to reason
}

var (
	testEnd    = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+) \(`)
	testReason = regexp.MustCompile(`^\s+\S+\.go:[0-9]+: (.*)$`)
)

// parseTests reads the output of tests. A test that has others inside of it counts, and
// so do they.
func parseTests(text []byte) Tests {
	t := Tests{Skipped: map[string]string{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	skipped, last := "", ""
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if m := testEnd.FindStringSubmatch(line); m != nil {
			skipped = ""
			switch m[2] {
			case "PASS":
				t.Passed++
			case "FAIL":
				t.Failed = append(t.Failed, m[3])
			case "SKIP":
				// With -test.v the reason comes before.
				skipped = m[3]
				t.Skipped[skipped] = last
			}
			continue
		}
		if m := testReason.FindStringSubmatch(line); m != nil {
			last = m[1]
		}
	}
	return t
}
