package main

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestGuarded runs the service and its debug port as main does, asks both, and sees
// that nothing stays when it ends.
func TestGuarded(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	const limit = 1 << 30
	tiles := newTiles(8)
	service, debugging, end, err := guarded(tiles, tiles.trim, limit, false, true)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if got := debug.SetMemoryLimit(-1); got >= limit {
		t.Errorf("GOMEMLIMIT is %d with a limit of %d", got, limit)
	}
	at, err := serve(ctx, "127.0.0.1:0", service)
	if err != nil {
		t.Fatal(err)
	}
	debugAt, err := serve(ctx, "127.0.0.1:0", debugging)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	get := func(url string) (*http.Response, string) {
		r, err := client.Get(url)
		if err != nil {
			t.Error(err)
			return &http.Response{}, ""
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return r, string(body)
	}

	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			// On a machine that is busy with others the guard may say no.
			switch r, body := get("http://" + at + "/tiles/1"); {
			case r.StatusCode == http.StatusOK && len(body) == tileBytes:
			case r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
			default:
				t.Errorf("a tile: status %d, %d bytes", r.StatusCode, len(body))
			}
		}()
	}
	all.Wait()

	if r, body := get("http://" + debugAt + "/debug/heapwright"); r.StatusCode != http.StatusOK || !strings.Contains(body, "memlimit: set") {
		t.Errorf("the debug page: status %d", r.StatusCode)
	}
	var d struct {
		Guard struct {
			Shed struct {
				Admitted map[string]uint64
			}
		}
		Metrics []struct{ Name string }
		Change  struct{ Allowed bool }
	}
	_, body := get("http://" + debugAt + "/debug/heapwright/?format=json")
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	if d.Guard.Shed.Admitted["normal"] == 0 || len(d.Metrics) == 0 || d.Change.Allowed {
		t.Errorf("the debug page: %+v", d)
	}
	r, err := client.Post("http://"+debugAt+"/debug/heapwright/faults", "application/json",
		strings.NewReader(`{"kind": "goroutines", "level": 10, "lease_seconds": 60, "by": "the test"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if _, body := get("http://" + debugAt + "/debug/heapwright/"); r.StatusCode != http.StatusOK || !strings.Contains(body, "A fault is injected") {
		t.Errorf("a fault: status %d, and the page does not show it", r.StatusCode)
	}
	if r, body := get("http://" + debugAt + "/metrics"); r.StatusCode != http.StatusOK || !strings.Contains(body, "heapwright_") {
		t.Errorf("metrics: status %d, %.200s", r.StatusCode, body)
	}

	stop()
	end()
	transport.CloseIdleConnections()
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("GOMEMLIMIT is %d after the end", got)
	}
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stack := make([]byte, 64<<10)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stack[:runtime.Stack(stack, true)])
		}
	}
}

func TestTrim(t *testing.T) {
	tiles := newTiles(2)
	for _, name := range []string{"/a", "/b", "/c"} {
		tiles.keep(name, []byte(name))
	}
	if len(tiles.kept) != 2 {
		t.Errorf("%d tiles are kept, 2 may be", len(tiles.kept))
	}
	if err := tiles.trim(context.Background()); err != nil || len(tiles.kept) != 0 {
		t.Errorf("%d tiles are kept after a trim, error %v", len(tiles.kept), err)
	}
}
