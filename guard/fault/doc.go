// Package fault lets faults of memory and of the collector happen inside a service,
// on request, to see what it does then: garbage, memory that is kept, goroutines,
// finalizers, collections. It is what `heapwright stress` reaches through package
// debugz, and is there only where a service makes an [Injector]:
//
//	faults := fault.New(fault.Options{})
//	defer faults.Close()
//	mux.Handle("/debug/heapwright/", debugz.Handler(debugz.Options{Faults: faults}))
//
// A fault has a level, in the unit of its kind, which can be changed while it lasts,
// and a lease. It ends with its lease unless that is renewed, so that nothing stays
// when whoever asked for it is gone. What all faults hold together is bounded. When
// one ends it gives everything back: memory, mappings, goroutines.
//
// An Injector that injects nothing runs no goroutine and holds no memory, and to import
// the package does nothing. It sets neither GOGC nor GOMEMLIMIT and touches nothing of
// the service's own; it does no ramps, and does not know what a service should do.
package fault
