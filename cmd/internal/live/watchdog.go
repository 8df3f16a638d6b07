package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/remote"
)

// A watchdog is a child process that shares the hold on the target, and knows of
// the tool's end by the end of a pipe that only the tool can write to. A tool that
// is stopped does not watch either: it is as good as dead when it has been silent
// for long. What the two say are lines:
//
//	tool      {"lease_dir": ..., "state_dir": ...}
//	watchdog  ready, or why not
//	tool      here, every few seconds, and when the lease has changed
//	tool      done: nothing is left to put back, or it shall stay
type watchdog struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	pipe  *os.File
	quiet chan struct{} // closed when nothing more is to be said
	said  chan struct{} // closed when nothing more will be
}

// A hello is the first line to a watchdog.
type hello struct {
	LeaseDir string `json:"lease_dir"`
	StateDir string `json:"state_dir"`
	Tool     string `json:"tool"`
	User     string `json:"user"`
	// Silence is how long the tool may say nothing.
	Silence time.Duration `json:"silence_ns"`
}

const (
	dogReady = "ready"
	dogHere  = "here"
	dogDone  = "done"
	// dogSilence is how long a tool may say nothing: a machine so busy that it does
	// not come to a word in that time has nobody watching the change.
	dogSilence = time.Minute
	// dogStart is how long a watchdog may take to attach to the target.
	dogStart = 30 * time.Second
	// dogYield is how long it waits for the tool when it is told to end itself.
	dogYield = 3 * time.Second
	// dogHold is the descriptor of the hold in the watchdog: the first of
	// exec.Cmd's ExtraFiles.
	dogHold = 3
)

// startWatchdog returns when the watchdog is on guard.
func (h Host) startWatchdog(ctx context.Context, pid int, hold hold) (*watchdog, error) {
	if len(h.Watchdog) == 0 {
		return nil, errors.New("there is no command for it")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(h.Watchdog[0], append(h.Watchdog[1:len(h.Watchdog):len(h.Watchdog)], strconv.Itoa(pid))...)
	cmd.Args[0] = "heapwright" // for whoever lists processes
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	cmd.ExtraFiles = []*os.File{hold.f}
	// Ctrl-C in the terminal, or the terminal's end, is for the tool.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	d := &watchdog{cmd: cmd, pipe: w, done: make(chan struct{}), quiet: make(chan struct{}), said: make(chan struct{})}
	silence := h.silence
	if silence == 0 {
		silence = dogSilence
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(out, 4<<10)).ReadString('\n')
		said <- strings.TrimSpace(line)
		cmd.Wait()
		close(d.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, dogStart)
	defer cancel()
	hi, err := json.Marshal(hello{h.LeaseDir, h.StateDir, h.Tool, h.User, silence})
	if err == nil {
		_, err = w.Write(append(hi, '\n'))
	}
	if err == nil {
		select {
		case line := <-said:
			if line == dogReady {
				go d.keepSaying(dogHere, silence/10)
				return d, nil
			}
			err = fmt.Errorf("it says %q", line)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	w.Close()
	cmd.Process.Kill()
	<-d.done
	return nil, err
}

// keepSaying says a word again and again, until there is nothing more to be said.
func (d *watchdog) keepSaying(word string, every time.Duration) {
	defer close(d.said)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-d.quiet:
			return
		case <-d.done:
			return
		case <-t.C:
			io.WriteString(d.pipe, word+"\n") // if it is gone, so be it
		}
	}
}

// look has the watchdog look at the lease again, which has changed: should the file be
// lost, it knows what to put back. If the watchdog is gone, so be it.
func (d *watchdog) look() { io.WriteString(d.pipe, dogHere+"\n") }

// hangUp says a last word, if there is one, and ends the pipe.
func (d *watchdog) hangUp(last string) {
	close(d.quiet)
	<-d.said
	if last != "" {
		io.WriteString(d.pipe, last+"\n")
	}
	d.pipe.Close()
}

// dismiss ends the watchdog: it has nothing to do any more.
func (d *watchdog) dismiss() {
	d.hangUp(dogDone)
	select {
	case <-d.done:
	case <-time.After(dogStart): // somebody has stopped it
		d.cmd.Process.Kill()
		<-d.done
	}
}

// abandon leaves the watchdog alone with the change, as if this process died,
// and waits a while for it.
func (d *watchdog) abandon() {
	d.hangUp("")
	select {
	case <-d.done:
	case <-time.After(dogStart):
	}
}

// alive reports whether the watchdog is on guard.
func (d *watchdog) alive() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// RunWatchdog is the watchdog's side: it guards the change that the process at
// the other end of in is making to process pid, and puts everything back when in
// ends before that process has said that it is done, or when ctx does.
func (h Host) RunWatchdog(ctx context.Context, pid int, in io.Reader, out io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // the tool at the other end may be gone: that is what we are for
	lines := bufio.NewReaderSize(in, 64<<10)
	line, err := lines.ReadSlice('\n')
	var hi hello
	if err == nil {
		err = json.Unmarshal(line, &hi)
	}
	if err != nil {
		return fmt.Errorf("the watchdog is started by heapwright, not by hand: %w", err)
	}
	h.LeaseDir, h.StateDir, h.Tool, h.User = hi.LeaseDir, hi.StateDir, hi.Tool, hi.User
	t, err := remote.Attach(ctx, pid)
	if err != nil {
		fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", " "))
		return err
	}
	defer t.Close()
	// The hold is the tool's, inherited: it binds while either of the two has it.
	shared := os.NewFile(dogHold, "hold")
	defer shared.Close()
	if err := flock(shared); err != nil {
		fmt.Fprintln(out, err)
		return err
	}
	// It is on disk before a watchdog is started.
	guarded, err := h.readLease(pid, t.Process().StartTicks())
	if err == nil && guarded == nil {
		err = &NoLeaseError{pid}
	}
	if err != nil {
		fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", " "))
		return err
	}
	// A tool that is gone by now shows at the end of in.
	fmt.Fprintln(out, dogReady)
	heard, here := make(chan bool, 1), make(chan struct{}, 1)
	go func() {
		for {
			line, err := lines.ReadSlice('\n')
			if word := string(line); err != nil || word == dogDone+"\n" {
				heard <- err == nil
				return
			}
			select {
			case here <- struct{}{}:
			default:
			}
		}
	}()
	why, done := listen(ctx, heard, here, hi.Silence, func() {
		if l, err := h.readLease(pid, t.Process().StartTicks()); err == nil && l != nil {
			guarded = l
		}
	})
	switch {
	case done:
		return nil
	case ctx.Err() != nil:
		// Whoever ends both, as a service manager does, leaves it to the tool.
		why = "the watchdog was told to end"
		select {
		case done := <-heard:
			if done {
				return nil
			}
		case <-time.After(dogYield):
		}
	}
	l, err := h.readLease(pid, t.Process().StartTicks())
	if err != nil || l == nil {
		// The file was lost, with the user's last session for example, or the tool had
		// put all back: then nothing holds what it wrote.
		l = guarded
	}
	if l.Kept {
		return nil
	}
	h.Tool += " watchdog"
	_, err = h.restore(t, l, ActionRevert, why)
	if gone(err) {
		return nil
	}
	if err == nil {
		fmt.Fprintf(os.Stderr, "heapwright: %s; the old settings of process %d are back\n", why, pid)
	}
	return err
}

// listen waits for what the tool says: true that it is done, false that it ended, or
// nothing for too long. It looks at the lease whenever the tool says that it is here.
func listen(ctx context.Context, heard <-chan bool, here <-chan struct{}, silence time.Duration, look func()) (why string, done bool) {
	if silence <= 0 {
		silence = dogSilence
	}
	t := time.NewTimer(silence)
	defer t.Stop()
	for {
		select {
		case done := <-heard:
			return "the tool ended before it was done", done
		case <-ctx.Done():
			return "", false
		case <-here:
			look()
			t.Reset(silence)
		case <-t.C:
			return fmt.Sprintf("the tool has said nothing for %v: it is stopped", silence), false
		}
	}
}
