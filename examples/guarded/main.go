// Guarded is a service that watches itself: memlimit gives it the Go memory limit
// that its container leaves, guard sheds requests before memory or the collector
// brings it down, and debugz shows what goes on. All of that is in guarded, below;
// the rest is the service: it draws tiles, each of which takes a few MiB for a
// while, and keeps those that were asked for last.
//
// Try it, in a container with a memory limit or with one that you give:
//
//	go run ./examples/guarded -limit 256 -rate 60
//
// and look at http://127.0.0.1:6060/debug/heapwright/. At -rate 60 there is room for
// all requests, at -rate 400 there is not: then many are refused at once, with 503
// and Retry-After, and the others are served. -rate 0 leaves it to you to ask:
//
//	curl -so /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/tiles/7
//
// With -allow-faults the debug port lets faults happen inside, to see what comes of
// them. Each ends with its lease; this one keeps 24 MiB for 20 seconds:
//
//	curl http://127.0.0.1:6060/debug/heapwright/faults -H 'Content-Type: application/json' \
//		-d '{"kind": "heap.retain", "level": 25165824, "lease_seconds": 20, "by": "me"}'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/heapwright/heapwright/debugz"
	"github.com/heapwright/heapwright/examples/internal/run"
	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/fault"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/metric"
)

var (
	addr   = flag.String("addr", "127.0.0.1:8080", "address of the service")
	port   = flag.String("debug", "127.0.0.1:6060", "address of the debug port")
	limit  = flag.Uint64("limit", 0, "memory limit, MiB; 0: that of the container")
	rate   = flag.Int("rate", 60, "requests a second that it sends to itself")
	change = flag.Bool("allow-change", false, "let the debug port change GOGC and GOMEMLIMIT")
	faults = flag.Bool("allow-faults", false, "let the debug port make faults happen")
	most   = flag.Uint64("fault-memory", 0, "what faults may hold, MiB; 0: a quarter of the limit")
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	tiles := newTiles(64)
	service, debugging, end, err := guarded(tiles, tiles.trim, *limit<<20, *change, *faults)
	if err != nil {
		log.Fatal(err)
	}
	defer end()
	at, err := serve(ctx, *addr, service)
	if err != nil {
		log.Fatal(err)
	}
	debugAt, err := serve(ctx, *port, debugging)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("tiles at http://%s/tiles/1, and what goes on inside at http://%s/debug/heapwright/\n", at, debugAt)
	run.Ready()
	if *rate > 0 {
		ask(ctx, "http://"+at, *rate)
	}
	<-ctx.Done()
}

// guarded puts a service under guard, and makes its debug port.
func guarded(next http.Handler, trim func(context.Context) error, bytes uint64, change, faults bool) (service, debugging http.Handler, end func(), err error) {
	l, err := memlimit.Start(memlimit.Config{Bytes: bytes})
	if err != nil {
		return nil, nil, nil, err
	}
	known := func() uint64 { return l.Report().LimitBytes }
	g, err := guard.Start(guard.Config{Limit: known, Trim: trim})
	if err != nil {
		return nil, nil, nil, errors.Join(err, l.Close())
	}
	debug := debugz.Options{Guard: g, Limit: l, Sources: []metric.Source{g, l}, AllowChange: change}
	end = func() { g.Close(); l.Close() }
	if faults {
		debug.Faults = fault.New(fault.Options{Limit: known, MaxBytes: *most << 20})
		end = func() { debug.Faults.Close(); g.Close(); l.Close() }
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/heapwright/", debugz.Handler(debug))
	mux.Handle("/metrics", metric.Handler(g, l))
	mux.Handle("/readyz", g.ReadyHandler())
	return g.Handler(next), mux, end, nil
}

// serve serves until ctx ends, and returns at which address.
func serve(ctx context.Context, addr string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { s.Close() })
	go s.Serve(l)
	return l.Addr().String(), nil
}

// tiles is the service: it draws, and keeps the last tiles that it drew.
type tiles struct {
	mu   sync.Mutex
	kept map[string][]byte
	most int
}

func newTiles(most int) *tiles { return &tiles{kept: map[string][]byte{}, most: most} }

const (
	tileBytes  = 128 << 10
	layers     = 16 // of tileBytes, while it is drawn: 2 MiB
	layerTakes = 10 * time.Millisecond
)

func (t *tiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	tile := t.kept[r.URL.Path]
	t.mu.Unlock()
	if tile == nil {
		tile = draw(r.Context(), r.URL.Path)
		t.keep(r.URL.Path, tile)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(tile)
}

// draw makes a tile of layers that come one after the other, as from a database.
func draw(ctx context.Context, name string) []byte {
	var all [][]byte
	for i := range layers {
		layer := make([]byte, tileBytes)
		for j := range layer {
			layer[j] = name[j%len(name)] + byte(i)
		}
		all = append(all, layer)
		select {
		case <-time.After(layerTakes):
		case <-ctx.Done():
			return all[0]
		}
	}
	tile := make([]byte, tileBytes)
	for _, layer := range all {
		for j, b := range layer {
			tile[j] ^= b
		}
	}
	return tile
}

func (t *tiles) keep(name string, tile []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.kept {
		if len(t.kept) < t.most {
			break
		}
		delete(t.kept, other)
	}
	t.kept[name] = tile
}

// trim gives up what can be drawn again. The guard calls it when memory is scarce.
func (t *tiles) trim(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.kept)
	return nil
}

// ask sends requests until ctx ends, when they are due and not when there is an
// answer: as people do.
func ask(ctx context.Context, base string, rate int) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	n := 0
	run.Every(ctx, time.Second/time.Duration(rate), func() {
		n++
		go func(n int) {
			r, err := client.Get(fmt.Sprintf("%s/tiles/%d", base, n%1000))
			if err != nil {
				return
			}
			defer r.Body.Close()
			io.Copy(io.Discard, r.Body)
		}(n)
	})
	fmt.Fprintln(os.Stderr, n, "requests were sent")
}
