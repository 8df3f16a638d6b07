// Package measure looks at the processes of an experiment from outside, and at the
// machine that they share, and says what a block was worth.
//
// A [Watch] reads one process from when it is ready to its end. It waits until the
// heap has settled, takes a first and a last sample exactly at the edges of the
// measured window, and keeps what lay between. [Values] makes the metrics of the
// process from that: a pure function, in which what cannot be known is absent. A
// [HostWatch] accounts for the rest of the machine.
//
// Throughput, errors and latency are the load generator's to say, the start and
// the size of the binary the subject's. The package starts nothing, loads nothing,
// compares nothing, and writes to no process.
package measure
