package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDebug starts the service with Heapwright's guard and with none, and has the same
// faults in both.
func TestDebug(t *testing.T) {
	for _, name := range []string{"plain", "heapwright"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := filepath.Join(dir, "debug")
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- run(ctx, []string{"-guard", name, "-listen", filepath.Join(dir, "work"), "-debug", at, "-faults", "64", "-base", "1"})
			}()
			client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", at)
			}}}
			for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				r, err := client.Get("http://localhost/readyz")
				if err == nil {
					r.Body.Close()
					break
				}
				if time.Now().After(end) {
					t.Fatal(err)
				}
			}
			r, err := client.Post("http://localhost/debug/heapwright/faults", "application/json",
				strings.NewReader(`{"kind": "heap.retain", "level": 1048576, "lease_seconds": 60, "by": "the test"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Errorf("a fault: status %d", r.StatusCode)
			}
			if r, err = client.Get("http://localhost/debug/heapwright/?format=json"); err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			var d struct {
				Guard  *struct{ State string }
				Faults struct {
					Active []struct{ Kind string }
					Max    uint64 `json:"max_bytes"`
				}
			}
			if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
				t.Fatal(err)
			}
			if (d.Guard != nil) != (name == "heapwright") || len(d.Faults.Active) != 1 || d.Faults.Max != 64<<20 {
				t.Errorf("the debug page: %+v", d)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
