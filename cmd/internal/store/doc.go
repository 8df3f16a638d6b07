// Package store keeps time series on disk and answers PromQL over them.
//
// The store is Prometheus' own time series database as a library, tuned for an agent
// that watches the processes of one machine: a few thousand series, one writer, little
// memory. What Commit acknowledged is in the write-ahead log: a process that is killed
// the next instant has lost nothing of it. (A machine that loses power may lose what
// the kernel had not written yet: the log is not synced at every commit, as in
// Prometheus.)
//
// Reader is how all others ask. DB.Reader answers from the database; Dial puts the same
// questions to any server with Prometheus' query API.
//
// What the series are called is the business of package series, and what is sent on to
// other servers that of package forward, which reads the store with Scan.
package store
