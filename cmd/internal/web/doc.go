// Package web is the agent's HTTP server: one port for the web UI, the JSON API, the
// query API that Grafana and others know from Prometheus, the metrics page and the
// live stream. It decides who may ask, and refuses what is not asked from here.
//
// It listens on loopback unless told otherwise, and elsewhere only with TLS and a
// token or client certificates. Whoever is let in is a [Reader]; what changes a process
// takes an [Operator], and is refused altogether unless it is enabled. Every unsafe
// request must come from a page of this server or bring a token that no page of
// another can have, and is written to the audit log.
//
// The package knows nothing of processes: what is answered comes from handlers that it
// is given ([Options.API], [Options.Metrics]), from a store, and from a [Live] source.
// It keeps sessions in memory only: who is logged in is asked again after a restart.
package web
