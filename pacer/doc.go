// Package pacer is a model of the Go garbage collector's pacer, and a twin of
// one Go process made from it.
//
// A [Model] is the arithmetic of one Go release: where a cycle starts and where
// it aims to end, who marks, when the CPU limiter steps in. [Fit] takes a
// recording of a process, made by any source, and finds what the model needs to
// know of that process: how fast it allocates, how much lives, what a cycle
// costs, what it holds beside the heap. The resulting [Twin] replays the
// recording under other settings, and says with intervals what would have come
// of them.
//
// The package is pure: it reads no process, no clock and no file, and decides
// nothing (package tune of the heapwright program chooses settings with it). It
// knows the collector, not the program: what a program does differently when it
// is given more memory or less, such as filling a cache, is not in the
// recording and not in the forecast.
package pacer
