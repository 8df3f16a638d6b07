package cli

import (
	"strings"
	"testing"
)

func TestLoadIsHidden(t *testing.T) {
	f := newFakeEnv()
	f.run(t, ExitCouldNotRun, "load")
	if !strings.Contains(f.err.String(), "not by hand") {
		t.Errorf("stderr %q", &f.err)
	}
	f.run(t, ExitOK, "--help")
	if strings.Contains(f.out.String(), "\n  load") {
		t.Error("people are told of it")
	}
}
