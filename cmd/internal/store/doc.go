// Package store keeps time series on disk and answers PromQL over them.
//
// The store is Prometheus' own time series database as a library, tuned for an agent
// that watches the processes of one machine: a few thousand series, one writer, little
// memory. What Commit acknowledged is in the write-ahead log: a process that is killed
// the next instant has lost nothing of it. (A machine that loses power may lose what
// the kernel had not written yet: the log is not synced at every commit, as in
// Prometheus.)
//
// When the disk is full, Commit fails with a FullError before it touches anything, and
// works again when there is room. When the clock is set back by a minute or more, what
// is stored of the time after stays, and new samples are kept beside it: it costs the
// few that come before that is seen. Set back by less, a series goes on when the clock
// has caught up. Samples that are older than the newest of their series are counted and
// not stored.
//
// Reader is how all others ask. DB.Reader answers from the database; Dial puts the same
// questions to any server with Prometheus' query API.
//
// What the series are called is the business of package series, and what is sent on to
// other servers that of package forward, which reads the store with Scan.
package store
