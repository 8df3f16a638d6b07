// Package top is the terminal view of heapwright: the Go processes of a machine in
// one table that sorts by trouble, and any one of them closer.
//
// It has three parts. A [Watcher] samples the processes once a second and hands on
// [Round]s of [Row]s. A [Model] is what a person sees: a pure function of rounds, keys
// and the size of the terminal, in the manner of bubbletea. [Run] puts the two together
// on a terminal. It changes nothing in any process, and keeps nothing when it ends.
package top
