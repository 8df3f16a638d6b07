// Keeps builds structures of known shape, one a global, and says how many bytes of
// the heap each has: the difference of what is live after a collection. It is the
// truth for tests that look who keeps what. Its argument is how large they are. Asked
// with a line, it says for how long it was stopped.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

type node struct {
	next, back *node
	data       *[4]int
}

type tree struct {
	left, right *tree
	name        string
}

type session struct {
	id    string
	buf   []byte
	items map[int]*int
}

type server struct {
	byName map[string]*session
	byID   map[int]*session
	log    [][]byte
}

type holder struct{ shared *tree }

var (
	list     *node
	ring     *node
	forest   *tree
	sessions map[string]*session
	numbers  map[int]int
	rows     [][]int64
	blob     []byte
	queue    chan *session
	synced   *sync.Map
	values   []interface{}
	closures []func() int
	twofold  *server
	first    *holder
	second   *holder
)

func main() {
	debug.SetGCPercent(-1)
	n, _ := strconv.Atoi(os.Args[1])
	sizes := map[string]uint64{}
	for _, b := range []struct {
		name  string
		build func()
	}{
		{"list", func() {
			for i := 0; i < n; i++ {
				list = &node{next: list, data: new([4]int)}
				if list.next != nil {
					list.next.back = list
				}
			}
		}},
		{"ring", func() {
			last := &node{}
			ring = last
			for i := 0; i < n; i++ {
				ring = &node{next: ring}
			}
			last.next = ring
		}},
		{"forest", func() { forest = grow(n) }},
		{"sessions", func() {
			sessions = map[string]*session{}
			for i := 0; i < n; i++ {
				s := newSession(i)
				sessions[s.id] = s
			}
		}},
		{"numbers", func() {
			numbers = map[int]int{}
			for i := 0; i < n; i++ {
				numbers[i] = i
			}
		}},
		{"rows", func() {
			for i := 0; i < n/10; i++ {
				rows = append(rows, make([]int64, 100))
			}
		}},
		{"blob", func() { blob = make([]byte, n*100) }},
		{"queue", func() {
			queue = make(chan *session, n)
			for i := 0; i < n/2; i++ {
				queue <- newSession(i)
			}
		}},
		{"synced", func() {
			synced = new(sync.Map)
			for i := 0; i < n; i++ {
				synced.Store(i, newSession(i))
			}
		}},
		{"values", func() {
			for i := 0; i < n; i++ {
				values = append(values, &tree{}, strconv.Itoa(i), i+1000)
			}
		}},
		{"closures", func() {
			for i := 0; i < n; i++ {
				s := newSession(i)
				closures = append(closures, func() int { return len(s.id) })
			}
		}},
		{"twofold", func() {
			twofold = &server{byName: map[string]*session{}, byID: map[int]*session{}}
			for i := 0; i < n; i++ {
				s := newSession(i)
				twofold.byName[s.id], twofold.byID[i] = s, s
				twofold.log = append(twofold.log, make([]byte, 32))
			}
		}},
		{"(several roots)", func() {
			// What two globals share, neither retains.
			t := grow(n)
			first, second = &holder{t}, &holder{t}
		}},
	} {
		before := live()
		b.build()
		sizes[b.name] = live() - before
	}
	sizes["(several roots)"] -= 16
	out := json.NewEncoder(os.Stdout)
	out.Encode(sizes)
	// For each line that comes in, one goes out with the longest time that this did
	// not run since the last.
	longest := make(chan time.Duration)
	go func() {
		last, most := time.Now(), time.Duration(0)
		for {
			time.Sleep(time.Millisecond)
			now := time.Now()
			if d := now.Sub(last); d > most {
				most = d
			}
			last = now
			select {
			case longest <- most:
				most = 0
			default:
			}
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		out.Encode((<-longest).Seconds())
	}
}

func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func newSession(i int) *session {
	return &session{id: "session-" + strconv.Itoa(i+1000000), buf: make([]byte, 100)}
}

func grow(n int) *tree {
	if n == 0 {
		return nil
	}
	return &tree{left: grow((n - 1) / 2), right: grow(n - 1 - (n-1)/2), name: strconv.Itoa(n + 1000)}
}
