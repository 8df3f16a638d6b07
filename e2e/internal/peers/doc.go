// Package peers runs one service under several guards at the same time, each in a
// container of its own, lets the same faults happen to all of them, and counts what
// its clients got. It knows nothing of what the guards do.
package peers
