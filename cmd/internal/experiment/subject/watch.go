package subject

import (
	"fmt"
	"io"
	"os/exec"
	"time"
)

// watchScript ends what a subject has forked, and removes what it had, if we do
// not live to do it: its standard input is a pipe that only we can write to, and
// ends when we do. A shell, since there is one wherever there is /bin/sh, whatever
// program we are. It has no variable of the subject's, so that it does not kill
// itself.
const watchScript = `
id=$1 dir=$2 marker=$3
shift 3
pid= end=
read -r pg || pg=
if [ -n "$pg" ]; then read -r end || end=; fi
[ "$end" = done ] && exit 0
[ -n "$pg" ] && kill -s KILL -- "-$pg" 2>/dev/null
for round in 1 2 3 4 5; do
	found=
	for f in $(grep -ls -e "` + cookie + `=$id" /proc/[0-9]*/environ 2>/dev/null); do
		p=${f#/proc/}
		kill -s KILL -- "${p%/environ}" 2>/dev/null && found=1
	done
	for g in "$@"; do
		while read -r p; do
			kill -s KILL -- "$p" 2>/dev/null && found=1
		done 2>/dev/null <"$g/cgroup.procs"
	done
	[ -z "$found" ] && break
	sleep 0.1 2>/dev/null || sleep 1
done
left=
for g in "$@"; do
	[ -d "$g" ] && { rmdir -- "$g" 2>/dev/null || left=1; }
done
rm -rf -- "$dir" && [ -z "$left" ] && rm -f -- "$marker"
`

// A watcher is the process that does that. A nil one does nothing: where there is
// no shell, a program that forks leaves its children to Sweep.
type watcher struct {
	in   io.WriteCloser
	done chan struct{}
}

func startWatcher(id, dir, marker string, groups []string) *watcher {
	cmd := exec.Command("/bin/sh", append([]string{"-c", watchScript, "heapwright-watch", id, dir, marker}, groups...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = apart()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil
	}
	if err := cmd.Start(); err != nil {
		in.Close()
		return nil
	}
	w := &watcher{in: in, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it has nothing to say
		close(w.done)
	}()
	return w
}

// tell says which process group there is.
func (w *watcher) tell(pid int) {
	if w != nil {
		fmt.Fprintf(w.in, "%d\n", pid)
	}
}

// finish says that nothing is left to be done, and waits until it is gone.
func (w *watcher) finish() {
	if w == nil {
		return
	}
	// Two lines, for a process that was never started: the first is no number then.
	fmt.Fprint(w.in, "done\ndone\n")
	w.in.Close()
	select {
	case <-w.done:
	case <-time.After(5 * time.Second): // it ends by itself
	}
}
