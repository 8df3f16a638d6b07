// Package sense reads the values of a target of stress: what its runtime's books say,
// what the kernel knows of it and of its cgroup, whether it is ready, and how its guard
// is. One reading is a point.
//
// A reading takes a bounded time. What may take long, because the process is short of
// memory for example, is read beside it, and what did not come in time is absent from
// the point. So are values that cannot be known: those of the runtime of a program that
// is not Go, or of a cgroup that cannot be seen.
//
// The package only reads. What comes of the load is not in its points.
package sense
