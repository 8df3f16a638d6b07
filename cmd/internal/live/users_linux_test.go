package live

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	tg := start(t, buildProgram(t, "subject", ""))
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	t.Run("plain", func(t *testing.T) {
		_, line := startTool(t, tg, dir, Change{GOGCPercent: ptr(50)}, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
		if !strings.Contains(line, "access denied") {
			t.Errorf("the tool said %q", line)
		}
	})
	// Who may read any process may not therefore change it.
	t.Run("CAP_SYS_PTRACE", func(t *testing.T) {
		const capSysPtrace, capDACReadSearch = 19, 2
		attr := &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{capSysPtrace, capDACReadSearch},
		}
		if err := (&exec.Cmd{Path: "/bin/true", SysProcAttr: attr}).Run(); err != nil {
			t.Skipf("root may not give away CAP_SYS_PTRACE here: %v", err)
		}
		_, line := startTool(t, tg, dir, Change{GOGCPercent: ptr(50)}, attr)
		if !strings.HasPrefix(line, "true ") {
			t.Errorf("the tool said %q", line)
		}
	})
	tg.unchanged()
}
