// Package engine asks the container engines of this machine which containers run. From
// outside, a process tells the ID of its container, by its cgroup; the name that people
// use is known to the engine alone.
//
// Docker and Podman answer this on a socket of this machine, with the same words. One
// question is asked, which reads and changes nothing, within a time and a size; an engine
// of another machine is refused. containerd and CRI-O have other words: who uses them
// gives an ID.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	timeout       = 2 * time.Second // for one engine
	maxAnswer     = 8 << 20
	maxContainers = 10_000
)

// A Container is one that runs.
type Container struct {
	ID      string // 64 hex digits
	Name    string // as the engine has it, without the slash before it
	Service string // of Compose, "" without
}

// A NoEngineError says that no engine could be asked.
type NoEngineError struct {
	Why string
	Err error
}

func (e *NoEngineError) Error() string {
	if e.Err != nil {
		return e.Why + ": " + e.Err.Error()
	}
	return e.Why
}

func (e *NoEngineError) Unwrap() error { return e.Err }

// Sockets are the addresses of engines that may be here: what DOCKER_HOST or
// CONTAINER_HOST says, or where Docker and Podman listen by default.
func Sockets(getenv func(string) string) ([]string, error) {
	for _, name := range []string{"DOCKER_HOST", "CONTAINER_HOST"} {
		host := getenv(name)
		if host == "" {
			continue
		}
		path, ok := strings.CutPrefix(host, "unix://")
		if !ok || !filepath.IsAbs(path) {
			return nil, &NoEngineError{Why: name + " is no socket of this machine, which would be unix:///path"}
		}
		return []string{path}, nil
	}
	out := []string{"/run/docker.sock", "/run/podman/podman.sock"}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		out = append(out, filepath.Join(dir, "docker.sock"), filepath.Join(dir, "podman/podman.sock"))
	}
	return out, nil
}

// Running lists the containers that run in the engines that listen at these sockets.
// Where there is no socket there is no engine; an error, a [*NoEngineError], means that
// none could be asked.
func Running(ctx context.Context, sockets []string) ([]Container, error) {
	var out []Container
	var failed []error
	asked := false
	for _, socket := range sockets {
		if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
			continue
		}
		list, err := ask(ctx, socket)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", socket, err))
			continue
		}
		asked = true
		out = append(out, list...)
	}
	switch {
	case asked:
		return out, nil
	case len(failed) > 0:
		return nil, &NoEngineError{Why: "no container engine could be asked", Err: errors.Join(failed...)}
	}
	return nil, &NoEngineError{Why: "there is no container engine at " + strings.Join(sockets, ", ")}
}

func ask(ctx context.Context, socket string) ([]Container, error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/containers/json", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, errors.Unwrap(err) // without the address, which is none
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	return parse(text)
}

var (
	nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`)
	idForm   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// parse reads the answer of an engine. What no engine would have called a container is
// left out.
func parse(text []byte) ([]Container, error) {
	if len(text) > maxAnswer {
		return nil, errors.New("its answer is too long")
	}
	var list []struct {
		ID     string   `json:"Id"`
		Names  []string `json:"Names"`
		Labels map[string]string
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, errors.New("its answer is no list of containers")
	}
	if len(list) > maxContainers {
		return nil, fmt.Errorf("it has more than %d containers", maxContainers)
	}
	out := make([]Container, 0, len(list))
	for _, l := range list {
		if !idForm.MatchString(l.ID) {
			continue
		}
		c := Container{ID: l.ID}
		for _, name := range l.Names {
			// A second slash is in what another container calls it by a link.
			if name = strings.TrimPrefix(name, "/"); nameForm.MatchString(name) {
				c.Name = name
				break
			}
		}
		if s := l.Labels["com.docker.compose.service"]; nameForm.MatchString(s) {
			c.Service = s
		}
		out = append(out, c)
	}
	return out, nil
}

// Called are the containers of a name, or where there is none, of a service of Compose.
func Called(list []Container, name string) []Container {
	var named, served []Container
	for _, c := range list {
		switch {
		case c.Name == name:
			named = append(named, c)
		case c.Service == name:
			served = append(served, c)
		}
	}
	if len(named) > 0 {
		return named
	}
	return served
}
