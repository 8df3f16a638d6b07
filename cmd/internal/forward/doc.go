// Package forward sends what the agent stored to engines that exist: samples by
// Prometheus remote write 1.0 and by OTLP, snapshots of heap and goroutines to a
// Pyroscope-compatible server.
//
// The store is the buffer. Each destination has a cursor on disk, the instant before
// which the other side has taken everything, and reads on from there: a server that is
// away for days misses nothing that the store still keeps, and an agent that was killed
// goes on where it was. Nothing is queued, so memory is bounded whatever the other side
// does.
//
// What is sent is cut along a fixed grid of ten seconds of the clock, several cells at a
// time only where the other side cannot have any of them yet. So what has to be sent again,
// after an answer was lost or the agent was killed, is either all there already or not at
// all: a server that takes a request whole or refuses it, as Prometheus does, ends up with
// each sample once.
//
// Answers that say that the server is in trouble (5xx, 429), that it cannot be reached,
// or that credentials or address are wrong (401, 403, 404, redirects) are waited out.
// Answers that say that the data is wrong (400, 422) are not: the request is taken
// apart to find what the server does not want, that is counted as dropped, and said.
//
// What series are called for OTLP is decided here too, see [OTelName]; docs/METRICS.md
// lists all names. The package does not measure, and does not store.
package forward
