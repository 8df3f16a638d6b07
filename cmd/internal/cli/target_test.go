package cli

import (
	"os"
	"testing"
)

// TestParseTarget: what an argument names depends on its form, and on what lies
// in the current directory.
func TestParseTarget(t *testing.T) {
	env := profileHost()
	entries, err := env.Host.Processes(t.Context())
	if err != nil || len(entries) == 0 {
		t.Fatal("no process to name", err)
	}
	name, pid := entries[0].Process.Name, entries[0].Process.PID
	t.Chdir(t.TempDir())
	write := func(name string, mode os.FileMode) {
		if err := os.WriteFile(name, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(name, 0o755) // the program, where it was built
	write("recording", 0o644)
	write("x.hwrec", 0o755)
	for _, c := range []struct {
		arg  string
		kind targetKind
		pid  int
	}{
		{name, targetPID, pid}, {"./" + name, targetFile, 0}, {"recording", targetFile, 0}, {"x.hwrec", targetFile, 0},
		{"4123", targetPID, 4123}, {"http://127.0.0.1:1/metrics", targetURL, 0},
	} {
		got, err := parseTarget(t.Context(), env.Env, c.arg, true)
		if err != nil || got.kind != c.kind || got.pid != c.pid {
			t.Errorf("%s is %+v, %v", c.arg, got, err)
		}
	}
	for _, arg := range []string{"0", "-1", "ftp://x/", "http://", "missing.hwrec", "dir/missing", "nobody-runs-this"} {
		if got, err := parseTarget(t.Context(), env.Env, arg, true); err == nil {
			t.Errorf("%s is %+v", arg, got)
		}
	}
}
