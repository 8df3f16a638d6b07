package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func id(c string) string { return strings.Repeat(c, 64) }

// answer is what Docker 20.10 answers, shortened.
var answer = fmt.Sprintf(`[
 {"Id":%q,"Names":["/other/alias","/web"],"Image":"x","State":"running","Labels":{}},
 {"Id":%q,"Names":["/shop-api-1"],"Labels":{"com.docker.compose.service":"api"}},
 {"Id":%q,"Names":["/shop-api-2"],"Labels":{"com.docker.compose.service":"api"}},
 {"Id":%q,"Names":["/api2"],"Labels":{"com.docker.compose.service":"web"}},
 {"Id":%q,"Names":["/e\u001b[2Jvil"],"Labels":null},
 {"Id":"../../etc","Names":["/passwd"]}]`, id("a"), id("b"), id("c"), id("d"), id("e"))

func TestParse(t *testing.T) {
	got, err := parse([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	want := []Container{{id("a"), "web", ""}, {id("b"), "shop-api-1", "api"}, {id("c"), "shop-api-2", "api"}, {id("d"), "api2", "web"}, {id("e"), "", ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for name, n := range map[string]int{"web": 1, "api": 2, "api2": 1, "passwd": 0, "e": 0, "shop-api-1": 1} {
		if c := Called(got, name); len(c) != n {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := Called(got, "web"); c[0].ID != id("a") {
		t.Error("a service goes before a name")
	}
	for _, text := range []string{"", "{}", "[5]", `{"message":"no"}`, "[" + strings.Repeat("{},", maxContainers) + "{}]", strings.Repeat(" ", maxAnswer+1)} {
		if got, err := parse([]byte(text)); err == nil {
			t.Errorf("%.40q: %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(answer))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parse(text)
		if err == nil && len(list) > maxContainers {
			t.Errorf("%d containers", len(list))
		}
		for _, c := range list {
			if len(c.ID) != 64 || strings.ContainsAny(c.Name+c.Service, "\x1b\n/ ") {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestSockets(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string // "" for a refusal
	}{
		{nil, "/run/docker.sock /run/podman/podman.sock"},
		{map[string]string{"XDG_RUNTIME_DIR": "/run/user/5"}, "/run/docker.sock /run/podman/podman.sock /run/user/5/docker.sock /run/user/5/podman/podman.sock"},
		{map[string]string{"DOCKER_HOST": "unix:///x/y.sock", "CONTAINER_HOST": "tcp://x"}, "/x/y.sock"},
		{map[string]string{"CONTAINER_HOST": "unix:///x/z.sock"}, "/x/z.sock"},
		{map[string]string{"DOCKER_HOST": "tcp://10.0.0.1:2375"}, ""},
		{map[string]string{"DOCKER_HOST": "ssh://root@there"}, ""},
		{map[string]string{"DOCKER_HOST": "unix://relative"}, ""},
	} {
		got, err := Sockets(func(k string) string { return tc.env[k] })
		if strings.Join(got, " ") != tc.want || (err != nil) != (tc.want == "") || err != nil && !errors.As(err, new(*NoEngineError)) {
			t.Errorf("%v: %q, %v", tc.env, got, err)
		}
	}
}

// serve is an engine of a test's own.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Skipf("there are no unix sockets here: %v", err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return socket
}

func TestRunning(t *testing.T) {
	good := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.String() != "/containers/json" || r.ContentLength != 0 {
			t.Errorf("it is asked %s %s", r.Method, r.URL)
		}
		fmt.Fprint(w, answer)
	})
	bad := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	away := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	gone := filepath.Join(t.TempDir(), "gone")
	got, err := Running(t.Context(), []string{gone, bad, good})
	if err != nil || len(got) != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	for want, sockets := range map[string][]string{
		"it answers 403": {bad}, "there is no container engine at " + gone: {gone}, "its answer is too long": {endless}, "it answers 302": {away},
	} {
		got, err := Running(t.Context(), sockets)
		if got != nil || !errors.As(err, new(*NoEngineError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v, want %q", got, err, want)
		}
	}
	// One that says nothing is not waited for: whoever asks can give up.
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Running(ctx, []string{silent}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
