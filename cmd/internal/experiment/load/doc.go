// Package load drives a subject with requests, and says how long each took from
// when it was due.
//
// The load is open: requests are due at instants that are drawn beforehand, by the
// plan's seed, and are sent then whether or not earlier ones were answered. Latency
// counts from the instant at which a request was due, not from when it was sent: a
// subject that stops for 100 ms makes all requests late that were due in that time,
// and they all count (there is no coordinated omission).
//
// The generator is a process of its own, so that its garbage collector and its
// threads are not those of the tool that measures, and it can be told apart in the
// account of the CPU. It says of itself how late it sent, how often it collected,
// and what CPU time it took: a result whose generator was the bottleneck is refused
// by whoever judges.
//
// The package sends with net/http and grpc-go, or has a program of the user's own
// send (docs/formats/load.md). It does not follow redirects, keep cookies, speak TLS
// or replay traffic.
package load
