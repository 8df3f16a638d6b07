// Package live changes settings of a running Go process from outside: GOGC,
// GOMEMLIMIT, and the rates at which the runtime samples allocations and
// contention. The process need not know of it.
//
// Four things hold it together:
//
//   - A [Session] reads what is set, says word by word what it would write
//     ([Session.Describe]), and writes it ([Session.Apply]) if every rail allows:
//     the user's own process, a runtime proven anew, values in the runtime's own
//     range, no limit that would start a GC storm, no program that tunes itself.
//   - A [Lease] says who changes a process, and what was there before. It is on
//     disk before the first word is written.
//   - A watchdog, a child process that shares the lease, puts everything back if
//     the tool dies before it has said that the change shall stay.
//   - [Watch] looks whether the change does what was expected of it, and puts
//     everything back if not. What it decides is the pure function [Judge].
//
// Everything that is done to a process is written to a log, see [Host.History].
//
// The package does not choose values, does not print (but for a watchdog that had
// to act: nobody else is there to say so), and does not write to memory itself:
// package poke does, a word at a time.
package live
