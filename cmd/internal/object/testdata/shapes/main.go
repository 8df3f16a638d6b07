// Shapes builds a heap of known shape and says what it is: the truth for tests
// that read it from outside.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"time"
)

type node struct {
	next *node
	id   int
	pad  [3]int
}

type tree struct {
	left, right *tree
	key         int
}

type entry struct {
	name string
	data []byte
	peer *entry
}

type holder struct {
	mu    sync.Mutex
	table map[string]*entry
	rows  [][]int64
	any   interface{}
	queue chan *entry
	hooks []func() int
	last  *big
}

type big struct {
	ptrs [100]*entry
	tail string
}

type chained struct {
	next *chained
	self *entry
}

var (
	list   *node
	root   *tree
	held   holder
	ring   *node
	ifaces []interface{}
	byInt  map[int]*big
	pool   = sync.Pool{New: func() interface{} { return new(entry) }}
	timers []*time.Timer
	bulk   []*node
)

func build(n int) {
	for i := 0; i < n; i++ {
		list = &node{next: list, id: i}
	}
	root = grow(n)
	held.table = map[string]*entry{}
	for i := 0; i < n; i++ {
		name := strconv.Itoa(i) + "-entry-of-the-table"
		held.table[name] = &entry{name: name, data: make([]byte, 100)}
	}
	for i := 0; i < n/10; i++ {
		held.rows = append(held.rows, make([]int64, 64))
	}
	held.queue = make(chan *entry, n)
	for i := 0; i < n/2; i++ {
		held.queue <- &entry{name: "queued"}
	}
	for i := 0; i < n/10; i++ {
		e := &entry{name: "captured"}
		held.hooks = append(held.hooks, func() int { return len(e.name) })
	}
	held.last = &big{tail: "tail"}
	for i := range held.last.ptrs {
		held.last.ptrs[i] = &entry{}
	}
	first := &node{id: -1}
	ring = first
	for i := 0; i < n; i++ {
		ring = &node{next: ring, id: -i}
	}
	first.next = ring
	for i := 0; i < n; i++ {
		ifaces = append(ifaces, &tree{key: i})
	}
	byInt = map[int]*big{}
	for i := 0; i < n/10; i++ {
		byInt[i] = &big{}
	}
	var prev *chained
	for i := 0; i < n/10; i++ {
		c := &chained{next: prev, self: &entry{name: "finalized"}}
		runtime.SetFinalizer(c, func(c *chained) { c.self = nil })
		prev = c
	}
	keep = prev
	for i := 0; i < 100; i++ {
		pool.Put(&entry{data: make([]byte, 1000)})
	}
	for i := 0; i < 100; i++ {
		e := &entry{name: "timed"}
		timers = append(timers, time.AfterFunc(time.Hour, func() { e.name = "" }))
	}
	for i := 0; i < 20; i++ {
		go func() {
			buf := make([]*entry, 1000)
			for i := range buf {
				buf[i] = &entry{}
			}
			wait(buf)
			runtime.KeepAlive(buf)
		}()
	}
}

var keep *chained

//go:noinline
func wait(buf []*entry) {
	started.Done()
	<-make(chan int)
	runtime.KeepAlive(buf)
}

var started sync.WaitGroup

func grow(n int) *tree {
	if n == 0 {
		return nil
	}
	return &tree{key: n, left: grow((n - 1) / 2), right: grow(n - 1 - (n-1)/2)}
}

// churn keeps changing a map, a list and a slice of its own.
func churn() {
	m := map[int]*entry{}
	var l *node
	for i := 0; ; i++ {
		m[i%5000] = &entry{data: make([]byte, i%300)}
		l = &node{next: l}
		if i%3000 == 0 {
			l = nil
		}
		if i%7 == 0 {
			delete(m, i/2%5000)
		}
	}
}

func read(names ...string) []uint64 {
	s := make([]metrics.Sample, len(names))
	for i := range names {
		s[i].Name = names[i]
	}
	metrics.Read(s)
	var out []uint64
	for i := range s {
		out = append(out, s[i].Value.Uint64())
	}
	return out
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	if len(os.Args) > 2 {
		runtime.MemProfileRate, _ = strconv.Atoi(os.Args[2])
	}
	started.Add(20)
	build(n)
	started.Wait()
	if len(os.Args) > 3 {
		mb, _ := strconv.Atoi(os.Args[3])
		for i := 0; i < mb<<20/40/2; i++ {
			bulk = append(bulk, &node{id: i, next: list})
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	in := bufio.NewReader(os.Stdin)
	runtime.GC()
	runtime.GC()
	debug.SetGCPercent(-1)
	for {
		v := read("/gc/heap/objects:objects", "/memory/classes/heap/objects:bytes")
		fmt.Println(v[0], v[1])
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line == "churn\n" {
			debug.SetGCPercent(50)
			for i := 0; i < 3; i++ {
				go churn()
			}
		}
		runtime.GC()
	}
}
