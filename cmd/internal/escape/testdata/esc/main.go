package main

import (
	"fmt"
	"os"
	"strings"

	"example.com/esc/sub"
)

type T struct{ a, b int }

var sink *T
var m = map[string]int{}

func newT() *T { return &T{1, 2} }

func local(n int) int {
	b := make([]byte, n)
	for i := range b {
		b[i] = 1
	}
	s := []int{}
	for i := 0; i < n; i++ {
		s = append(s, i)
	}
	return len(b) + len(s)
}

func key(a, b string) int {
	m[a+b]++
	return len(strings.Repeat(a, 3))
}

func main() {
	var x T
	sink = &x
	sink = newT()
	fmt.Fprintln(os.Stderr, local(len(os.Args)), key("a", "b"))
	f := func() { sink.a++ }
	go f()
	sub.G(func(i int) int { return i + x.a })
	var b strings.Builder
	b.WriteString("x")
	fmt.Sprint(b.String())
}
