// Package debugz shows a service what Heapwright does inside of it: which memory
// settings are in force and who set them, where the memory is, what the guard sees
// and does. It is one page, and the same as JSON, for the service's debug port:
//
//	mux.Handle("/debug/heapwright/", debugz.Handler(debugz.Options{Guard: g, Limit: l}))
//
// It is safe as it comes. Requests are answered that come from this machine, by a
// name of this machine; nothing can be changed; neither the environment nor the
// arguments of the process are shown. [Options] opens what a service wants open.
//
// The page needs no script, no other file and no network, and is at most 60 KiB.
// The JSON is documented in docs/formats/debugz.md.
//
// The package measures nothing by itself but what package rtmetrics reads when a
// request comes, and runs no goroutine of its own between requests. It is no
// metrics endpoint (package metric has one) and keeps no history but a short one.
package debugz
