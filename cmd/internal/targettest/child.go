package targettest

import (
	"bufio"
	"io"
	"os/exec"
	"testing"
)

// Pipe starts a program that is talked with by its standard input and output, and
// kills it at the end of the test.
func Pipe(t testing.TB, cmd *exec.Cmd) (io.WriteCloser, *bufio.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return in, bufio.NewReader(out)
}

// Ready starts a program as [Pipe] does, and waits until it says the line "ready".
func Ready(t testing.TB, cmd *exec.Cmd) io.WriteCloser {
	t.Helper()
	in, out := Pipe(t, cmd)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return in
}
