// Package record is Heapwright's data model and its file format.
//
// Everything that observes a Go process produces these types, and everything
// that thinks reads them: a [Sample] is the runtime's state at an instant, a
// [Cycle] is one GC cycle, an [Event] is something that happened, [Goroutines]
// and [Profile] say where goroutines stand and which stacks hold or allocate
// memory, and a [Recording] is one process's identity together with all of
// these over time.
//
// The package holds data only. It does not read processes, does not decide
// anything, and imports nothing but the standard library.
package record
