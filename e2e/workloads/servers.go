package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// An order is what the JSON server keeps.
type order struct {
	ID       uint64            `json:"id"`
	Customer string            `json:"customer"`
	Lines    []orderLine       `json:"lines"`
	Labels   map[string]string `json:"labels"`
}

type orderLine struct {
	Article  string  `json:"article"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"price"`
}

func newOrder(id uint64, rnd *rand.Rand) *order {
	o := &order{
		ID: id, Customer: fmt.Sprintf("customer %d", rnd.IntN(10000)),
		Labels: map[string]string{"region": strconv.Itoa(rnd.IntN(9)), "channel": "web", "note": fmt.Sprint(rnd.Uint64())},
	}
	for i := 4 + rnd.IntN(16); i > 0; i-- {
		o.Lines = append(o.Lines, orderLine{fmt.Sprintf("article %d", rnd.IntN(50000)), 1 + rnd.IntN(9), float64(rnd.IntN(10000)) / 100})
	}
	return o
}

// jsonServer is an HTTP server on loopback that keeps orders and speaks JSON, and
// its clients.
func jsonServer(e env) (func(int, *rand.Rand), error) {
	const orders, page = 32000, 6
	var mu sync.RWMutex
	store := make([]*order, orders)
	for i := range store {
		store[i] = newOrder(uint64(i), e.rnd)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseUint(r.URL.Query().Get("id"), 10, 32)
		if err != nil || id >= orders {
			http.Error(w, "no such order", http.StatusNotFound)
			return
		}
		if r.Method == http.MethodPut {
			o := new(order)
			if err := json.NewDecoder(r.Body).Decode(o); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			mu.Lock()
			store[id] = o
			mu.Unlock()
			return
		}
		mu.RLock()
		found := append([]*order(nil), store[id:min(id+page, orders)]...)
		mu.RUnlock()
		json.NewEncoder(w).Encode(found)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(listener, mux)
	base := "http://" + listener.Addr().String() + "/order?id="
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	return func(w int, rnd *rand.Rand) {
		id := rnd.Uint64N(orders)
		method, body := http.MethodGet, io.Reader(nil)
		if rnd.IntN(3) > 0 {
			b, err := json.Marshal(newOrder(id, rnd))
			if err != nil {
				panic(err)
			}
			method, body = http.MethodPut, bytes.NewReader(b)
		}
		req, err := http.NewRequest(method, base+strconv.FormatUint(id, 10), body)
		if err != nil {
			panic(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			panic(err) // loopback, and nobody else: there is no excuse
		}
		defer resp.Body.Close()
		if method == http.MethodGet {
			var found []order
			if err := json.NewDecoder(resp.Body).Decode(&found); err != nil || resp.StatusCode != http.StatusOK {
				panic(fmt.Sprint(resp.Status, err))
			}
		}
		io.Copy(io.Discard, resp.Body)
	}, nil
}

// kvServer is a server that keeps values under keys and speaks the inline form of
// the Redis protocol over TCP, and its clients, which send batches of commands.
func kvServer(e env) (func(int, *rand.Rand), error) {
	const keys, workers, batch = 60000, 4, 80
	value := func(rnd *rand.Rand) int { return 64 + rnd.IntN(1400) }
	var mu sync.RWMutex
	store := make(map[string][]byte, keys)
	for i := 0; i < keys; i++ {
		store[fmt.Sprintf("key:%d", i)] = make([]byte, value(e.rnd))
	}
	serve := func(conn net.Conn) {
		defer conn.Close()
		r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			f := bytes.Fields(line)
			switch {
			case len(f) == 3 && string(f[0]) == "SET":
				n, err := strconv.Atoi(string(f[2]))
				if err != nil || n < 0 || n > 1<<20 {
					return
				}
				v := make([]byte, n)
				if _, err := io.ReadFull(r, v); err != nil {
					return
				}
				mu.Lock()
				store[string(f[1])] = v
				mu.Unlock()
				w.WriteString("+OK\n")
			case len(f) == 2 && string(f[0]) == "GET":
				mu.RLock()
				v := store[string(f[1])]
				mu.RUnlock()
				fmt.Fprintf(w, "$%d\n", len(v))
				w.Write(v)
			default:
				return
			}
			if r.Buffered() == 0 {
				if w.Flush() != nil {
					return
				}
			}
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	var clients [workers]*bufio.ReadWriter
	for i := range clients {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return nil, err
		}
		clients[i] = bufio.NewReadWriter(bufio.NewReaderSize(conn, 64<<10), bufio.NewWriterSize(conn, 64<<10))
	}
	payload := make([]byte, 2048)
	return func(worker int, rnd *rand.Rand) {
		c := clients[worker]
		var gets [batch]bool
		for i := range gets {
			key := rnd.IntN(keys)
			if gets[i] = rnd.IntN(2) == 0; gets[i] {
				fmt.Fprintf(c, "GET key:%d\n", key)
				continue
			}
			n := value(rnd)
			fmt.Fprintf(c, "SET key:%d %d\n", key, n)
			c.Write(payload[:n])
		}
		if err := c.Flush(); err != nil {
			panic(err) // loopback, and nobody else: there is no excuse
		}
		for _, get := range gets {
			line, err := c.ReadSlice('\n')
			if err != nil {
				panic(err)
			}
			if get {
				n, err := strconv.Atoi(string(line[1 : len(line)-1]))
				if err != nil {
					panic(err)
				}
				if _, err := c.Discard(n); err != nil {
					panic(err)
				}
			}
		}
	}, nil
}
