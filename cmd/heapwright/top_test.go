package main

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// A screen is heapwright top on a terminal of its own.
type screen struct {
	t      *testing.T
	ptmx   *os.File
	tty    *os.File
	cmd    *exec.Cmd
	before *term.State

	mu   sync.Mutex
	out  []byte
	seen int // of out
	done chan struct{}
}

func newScreen(t *testing.T, env []string, args ...string) *screen {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	t.Cleanup(func() { ptmx.Close(); tty.Close() })
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := exec.LookPath("heapwright") // testscript put it there
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ptmx: ptmx, tty: tty, before: before, done: make(chan struct{})}
	s.cmd = exec.Command(exe, append([]string{"top"}, args...)...)
	s.cmd.Env = append(s.cmd.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR=", "COLUMNS="}, env...)...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	go func() {
		defer close(s.done)
		buf := make([]byte, 32<<10)
		for {
			n, err := ptmx.Read(buf)
			s.mu.Lock()
			s.out = append(s.out, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

var escape = regexp.MustCompile("\x1b(\\[[0-9;?<=>]*[ -/]*[@-~]|\\][^\x07]*\x07|[=>])")

// wait waits until a text is drawn after what was waited for before. Only what
// changes is drawn, so it must be one that was not on the screen.
func (s *screen) wait(text string) {
	s.t.Helper()
	for range 6000 {
		s.mu.Lock()
		out := s.out
		s.mu.Unlock()
		if plain := escape.ReplaceAllString(string(out[s.seen:]), ""); strings.Contains(plain, text) {
			s.seen = len(out)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%q is never drawn after %q", text, s.out[:s.seen])
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.ptmx.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the end, and holds the terminal against what it was.
func (s *screen) end() {
	s.t.Helper()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("it ends with %v", err)
	}
	after, err := term.GetState(int(s.tty.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	if !reflect.DeepEqual(after, s.before) {
		s.t.Errorf("the terminal is not as it was: %+v, was %+v", after, s.before)
	}
	s.tty.Close()
	<-s.done
	for _, c := range []struct{ on, off, what string }{
		{"\x1b[?1049h", "\x1b[?1049l", "the other screen"},
		{"\x1b[?25l", "\x1b[?25h", "the hidden cursor"},
		{"\x1b[?2004h", "\x1b[?2004l", "bracketed paste"},
	} {
		out := string(s.out)
		if on := strings.LastIndex(out, c.on); on < 0 || strings.LastIndex(out, c.off) < on {
			s.t.Errorf("%s is not left", c.what)
		}
	}
}

func TestTop(t *testing.T) {
	pid := startTarget(t)
	s := newScreen(t, nil, pid)
	s.wait("1 process")
	s.wait(pid)
	s.press("\r")
	s.wait("goroutines")
	s.press("4")
	s.wait("GOMEMLIMIT")
	s.press("3")
	s.wait("CREATED BY")
	s.press("\x1b[Z\x1b") // shift+tab, and esc, which may begin a sequence
	s.wait("ALLOC/s")
	s.press("/nothing")
	s.wait("no process matches the filter")
	s.press("\x15\r?")
	s.wait("pause the picture")
	s.press("?")
	s.wait(pid)
	if err := pty.Setsize(s.ptmx, &pty.Winsize{Rows: 6, Cols: 39}); err != nil {
		t.Fatal(err)
	}
	s.wait("is the least")
	if err := pty.Setsize(s.ptmx, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	s.wait("this machine")
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait("ended")
	s.press("q")
	s.end()
}

func TestTopEndsBySignal(t *testing.T) {
	s := newScreen(t, []string{"NO_COLOR=1"}, startTarget(t))
	s.wait("1 process")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.end()
	if coloured := regexp.MustCompile("\x1b\\[[0-9;]+m").Find(s.out); coloured != nil {
		t.Errorf("colour in spite of NO_COLOR: %q", coloured)
	}
}

func TestTopOfNothing(t *testing.T) {
	s := newScreen(t, nil, "no-such-process-at-all")
	s.wait("no Go process matches no-such-process-at-all")
	s.press("\x03")
	s.end()
}
