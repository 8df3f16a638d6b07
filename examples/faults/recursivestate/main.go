// Recursivestate has a goroutine for each of 500 sessions that are open for days,
// written as a state machine in which each state calls the next one. No state ever
// returns: the stacks get deeper with each event.
//
// Fix: have a state return the next one, and call them in a loop.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type session struct {
	events chan byte
	served int
}

func main() {
	ctx, stop := work.Start()
	defer stop()
	var sessions [500]session
	for i := range sessions {
		sessions[i].events = make(chan byte, 1)
		go sessions[i].idle()
	}
	work.Each(ctx, 100, func(n int) { sessions[n*n%len(sessions)].events <- byte(n) })
}

func (s *session) idle() {
	if <-s.events != 0 {
		s.active()
	} else {
		s.idle()
	}
	s.served++
}

func (s *session) active() {
	var line [160]byte
	line[0] = <-s.events
	s.served += s.parse(line[:])
	s.idle()
	s.served += int(line[0])
}

func (s *session) parse(line []byte) int { return len(line) - int(line[0]) }
