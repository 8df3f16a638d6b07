package record

import (
	"os"
	"strings"
	"testing"
)

// The manual of the format names every field, and its example is a recording.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../docs/formats/recording.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for f := range NumFields {
		row := "| `" + f.String() + "` |"
		i := strings.Index(text, row)
		if i < 0 {
			t.Errorf("%s is not in the table", f)
			continue
		}
		line, _, _ := strings.Cut(text[i:], "\n")
		if strings.Contains(line, "| cumulative |") != f.Cumulative() {
			t.Errorf("%s is cumulative: %v, and the manual says otherwise", f, f.Cumulative())
		}
	}
	_, example, _ := strings.Cut(text, "```json\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("there is no example")
	}
	all, err := ReadAll(strings.NewReader(example))
	if err != nil || len(all) != 1 || all[0].Truncated != "" || len(all[0].Samples) == 0 || len(all[0].Cycles) == 0 || len(all[0].Events) == 0 {
		t.Errorf("the example reads as %+v, %v", all, err)
	}
}
