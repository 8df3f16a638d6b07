package servers

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Etcd is a single-member etcd cluster.
var Etcd = Server{
	Name: "etcd",
	Recipe: Recipe{
		Name:    "etcd",
		Package: "go.etcd.io/etcd/server/v3",
		Module:  "go.etcd.io/etcd/server/v3",
		Version: "v3.6.16",
		Wrapped: true,
	},
	configure: func(dir string, port func() int) (config, error) {
		client, peer := "http://"+local(port()), "http://"+local(port())
		return config{
			args: []string{"--name", "e2e", "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn", "--enable-pprof",
				"--listen-client-urls", client, "--advertise-client-urls", client,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "e2e=" + peer},
			ready: func(ctx context.Context) error {
				b, err := get(ctx, http.DefaultClient, client+"/health")
				if err == nil && !strings.Contains(string(b), `"true"`) {
					err = fmt.Errorf("health: %s", b)
				}
				return err
			},
			pprof: client + "/debug/pprof",
			load:  func(ctx context.Context, opt Load) (Stats, error) { return loadEtcd(ctx, client, opt) },
		}, nil
	},
}

// loadEtcd puts and gets 1 KiB values under a thousand keys while a watcher
// sees every change, and compacts the history now and then, as the users of an
// etcd do: without it the index in memory grows for ever.
func loadEtcd(ctx context.Context, base string, opt Load) (Stats, error) {
	const keys, compactEvery = 1000, 2000
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	var watched, put, revision atomic.Int64
	var watcher sync.WaitGroup
	watching := make(chan error, 1)
	watcher.Add(1)
	go func() {
		defer watcher.Done()
		watchEtcd(watchCtx, base, watching, &watched)
	}()
	defer watcher.Wait()
	defer stopWatch()
	if err := <-watching; err != nil {
		return Stats{}, fmt.Errorf("watching: %w", err)
	}

	value := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("v"), 1024))
	st, err := drive(ctx, opt, 4, func(int) (func(context.Context, int64) error, func(), error) {
		tr := &http.Transport{}
		c := &http.Client{Transport: tr}
		op := func(ctx context.Context, n int64) error {
			key := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "key/%04d", n%keys))
			if n%4 == 3 { // a get for every three puts
				_, err := call(ctx, c, base+"/v3/kv/range", map[string]any{"key": key})
				return err
			}
			rev, err := call(ctx, c, base+"/v3/kv/put", map[string]any{"key": key, "value": value})
			if err != nil {
				return err
			}
			put.Add(1)
			last := revision.Load()
			if rev > last+compactEvery && revision.CompareAndSwap(last, rev) {
				_, err = call(ctx, c, base+"/v3/kv/compaction", map[string]any{"revision": strconv.FormatInt(rev-compactEvery/2, 10)})
			}
			return err
		}
		return op, tr.CloseIdleConnections, nil
	})
	if err == nil && put.Load() > 100 && watched.Load() == 0 {
		err = fmt.Errorf("%d puts, none seen by the watcher", put.Load())
	}
	return st, err
}

// call posts to etcd's HTTP gateway and returns the revision of the answer.
func call(ctx context.Context, c *http.Client, url string, body any) (revision int64, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	answer, err := do(c, req)
	if err != nil {
		return 0, err
	}
	var doc struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil {
		return 0, fmt.Errorf("%s: %w", url, err)
	}
	return doc.Header.Revision, nil
}

// watchEtcd counts the events under key/, and says on ready when the watch stands.
func watchEtcd(ctx context.Context, base string, ready chan<- error, events *atomic.Int64) {
	// The range key/ to key0 is everything that begins with key/.
	body := fmt.Sprintf(`{"create_request":{"key":%q,"range_end":%q}}`,
		base64.StdEncoding.EncodeToString([]byte("key/")), base64.StdEncoding.EncodeToString([]byte("key0")))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v3/watch", strings.NewReader(body))
	if err != nil {
		ready <- err
		return
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		ready <- err
		return
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	var doc struct {
		Result struct {
			Created bool              `json:"created"`
			Events  []json.RawMessage `json:"events"`
		} `json:"result"`
	}
	if err := dec.Decode(&doc); err != nil {
		ready <- err
		return
	}
	if !doc.Result.Created {
		ready <- fmt.Errorf("the first answer does not confirm the watch (%s)", resp.Status)
		return
	}
	ready <- nil
	for {
		doc.Result.Events = nil
		if dec.Decode(&doc) != nil {
			return
		}
		events.Add(int64(len(doc.Result.Events)))
	}
}
