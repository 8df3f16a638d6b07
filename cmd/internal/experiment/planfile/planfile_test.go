package planfile

import (
	"testing"
)

func TestTemplates(t *testing.T) {
	for _, kind := range Kinds() {
		if _, err := Parse(kind+".yaml", Template(kind)); err != nil {
			t.Errorf("%s:\n%v", kind, err)
		}
	}
	if Template("binary") != nil {
		t.Error("there is a template of no kind")
	}
}
