// Package demo sets the stage for `heapwright demo`: it builds and starts the
// NATS server, which knows nothing of Heapwright, keeps it busy, and starts an
// example program that leaks. It shows nothing itself: that is what the real
// commands are for.
package demo
