package load

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// A child is a process that makes a load. It does not outlive us, however we end, and
// nothing that it started outlives it, but for what has left its process group.
type child struct {
	cmd     *exec.Cmd
	started time.Time
	took    time.Duration // valid after done
	err     error         // how it ended; valid after done
	done    chan struct{} // closed when it has ended and all that it printed was read
}

// spawn starts a child. What it prints is given to out and said, which read to the
// end.
func spawn(cmd *exec.Cmd, out, said func(io.Reader)) (*child, error) {
	c := &child{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = attributes()
	// Pipes of our own: exec's would be waited for also when what the child left
	// behind holds them open.
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	saidR, saidW, err := os.Pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = outW, saidW
	hangUp := func() {
		outR.Close()
		saidR.Close()
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that forked ends, not the process:
		// this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		c.started = time.Now()
		err := cmd.Start()
		outW.Close()
		saidW.Close()
		if err != nil {
			hangUp()
			started <- err
			return
		}
		var reading sync.WaitGroup
		reading.Go(func() { out(outR) })
		reading.Go(func() { said(saidR) })
		started <- nil
		c.err = cmd.Wait()
		c.took = time.Since(c.started)
		c.kill() // what it left behind, before its number is another's
		// What has left the group may still hold the pipes open.
		t := time.AfterFunc(endPatience, hangUp)
		reading.Wait()
		t.Stop()
		hangUp()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	renice(cmd.Process.Pid, niceness)
	return c, nil
}

// kill ends the child and all that it started and that did not leave its group.
func (c *child) kill() { killGroup(c.cmd.Process.Pid) }

// niceness is what a generator runs at, where that is permitted: it is to send in
// time also when the subject takes all CPUs.
const niceness = -5
