package api

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/web"
)

// History is the same, whether it is read from the embedded store or asked of a server
// that speaks Prometheus' API.
func TestRemoteStore(t *testing.T) {
	w := newWorld(t)
	w.record("web", service())
	w.now = epoch.Add(2400 * time.Second)
	s, err := web.New(web.Options{Listen: "127.0.0.1:0", Store: w.db.Reader(), Logger: slog.New(slog.DiscardHandler), AllowedHosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	prometheus := httptest.NewServer(s.Handler())
	defer prometheus.Close()
	there, err := store.Dial(prometheus.URL, store.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	remote := w.sources
	remote.Store = there
	paths := []string{cyclesOf(epoch, w.now, 2000), cyclesOf(epoch, w.now, 10)}
	for _, set := range setNames {
		paths = append(paths, seriesOf(set, epoch, w.now, 200))
	}
	for _, path := range paths {
		a, b := w.send(Handler(w.sources), "GET", path, "", web.Reader), w.send(Handler(remote), "GET", path, "", web.Reader)
		if a.Code != 200 || b.Code != 200 || !bytes.Equal(a.Body.Bytes(), b.Body.Bytes()) {
			t.Errorf("%s: %d and %d\n%.600s\n%.600s", path, a.Code, b.Code, a.Body, b.Body)
		}
	}
	prometheus.Close()
	if res := w.send(Handler(remote), "GET", paths[0], "", web.Reader); res.Code != 503 {
		t.Errorf("of a server that is away: %d %s", res.Code, res.Body)
	}
}
