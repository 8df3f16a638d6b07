package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// A targetKind says what an argument names.
type targetKind int

const (
	targetPID targetKind = iota
	targetURL
	targetFile
)

// A targetRef is an argument that names something to look at.
type targetRef struct {
	kind targetKind
	text string // as the user wrote it
	pid  int
}

// parseTarget tells what an argument names: a number is a PID, something with a
// scheme is a URL, something that exists is a file when files are wanted, and
// all else is the name of a process. So is the name of a program that happens to
// lie in the current directory: recordings are not executable.
func parseTarget(ctx context.Context, env Env, arg string, files bool) (targetRef, error) {
	if pid, err := strconv.Atoi(arg); err == nil {
		if pid <= 0 {
			return targetRef{}, fmt.Errorf("%s is not a PID", arg)
		}
		return targetRef{kind: targetPID, text: arg, pid: pid}, nil
	}
	if strings.Contains(arg, "://") {
		u, err := url.Parse(arg)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return targetRef{}, hinted(fmt.Errorf("%s is not a URL that can be read", arg), "give the http:// or https:// URL of a Go program's /metrics or /debug/pprof")
		}
		return targetRef{kind: targetURL, text: arg}, nil
	}
	if files {
		path := strings.ContainsRune(arg, os.PathSeparator) || strings.HasSuffix(arg, ".hwrec")
		if st, err := os.Stat(arg); err == nil && !st.IsDir() && (path || st.Mode()&0o111 == 0) {
			return targetRef{kind: targetFile, text: arg}, nil
		}
		if path {
			return targetRef{}, fmt.Errorf("%s: no such recording", arg)
		}
	}
	pid, err := pidByName(ctx, env, arg)
	return targetRef{kind: targetPID, text: arg, pid: pid}, err
}

// pidByName finds the one Go process of that name.
func pidByName(ctx context.Context, env Env, name string) (int, error) {
	entries, err := env.Host.Processes(ctx)
	if err != nil {
		return 0, err
	}
	var found []string
	pid := 0
	for _, e := range entries {
		if e.Process.Name == name && (e.IsGo || e.Err == nil) {
			pid = e.Process.PID
			found = append(found, strconv.Itoa(pid))
		}
	}
	switch len(found) {
	case 0:
		return 0, hinted(fmt.Errorf("no Go process is named %s", name), "heapwright ps lists the Go processes here")
	case 1:
		return pid, nil
	}
	return 0, hinted(fmt.Errorf("%d Go processes are named %s", len(found), name), "give one of the PIDs %s", strings.Join(found, ", "))
}

// watch opens what samples are to be taken of.
func (t targetRef) watch(ctx context.Context, env Env) (Target, error) {
	target, err := t.open(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := target.Ready(); err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

// open attaches to a process or an endpoint.
func (t targetRef) open(ctx context.Context, env Env) (Target, error) {
	if t.kind == targetURL {
		return env.Host.Endpoint(ctx, t.text)
	}
	return env.Host.Attach(ctx, t.pid)
}

// completeTargets proposes the PIDs of Go processes.
func completeTargets(ctx context.Context, env Env, _ []string) []string {
	entries, err := env.Host.Processes(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if (e.IsGo || e.Err == nil) && e.Process.PID != os.Getpid() {
			out = append(out, fmt.Sprintf("%d\t%s", e.Process.PID, oneLine(e.Process.Name)))
		}
	}
	return out
}
