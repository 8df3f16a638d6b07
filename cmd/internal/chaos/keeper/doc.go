// Package keeper is the process that makes the faults of stress, and takes them back.
//
// It is a child of the tool in a session of its own. The tool tells it which fault is to
// begin, and ten times a second that it is still there; the keeper leads each fault's
// level along its ramp, and ten times a second looks at the target and at what the plan
// says must not happen. When that happens, when the tool has been silent for the time of
// a lease, has ended, or says so, when the target has ended, and when the keeper is told
// to end, it takes back everything at once, reads it back, and says how long that took.
//
// What there is to take back is in a journal on disk before it is done. When the keeper
// is killed the tool takes it back from there; when both are, [Sweep] does, whenever
// heapwright is run again.
//
// How a fault is made is package fault's, how it rises package ramp's, and when it is
// enough package judge's.
package keeper
