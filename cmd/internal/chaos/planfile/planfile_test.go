package planfile

import (
	"regexp"
	"testing"
)

func TestTemplates(t *testing.T) {
	for _, kind := range Kinds() {
		text := Template(kind)
		if _, err := Parse(kind+".yaml", text); err != nil {
			t.Errorf("%s:\n%v", kind, err)
		}
		// With the comments that show keys taken away, too.
		plain := regexp.MustCompile(`(?m)^( *)# ([a-z_]+:.*|  .*)$`).ReplaceAll(text, []byte("$1$2"))
		if _, err := Parse(kind+".yaml", plain); err != nil {
			t.Errorf("%s, with all that it shows:\n%v\n%s", kind, err, plain)
		}
	}
	if Template("binary") != nil {
		t.Error("there is a template of no kind")
	}
}
