// Package fault makes the faults of a plan of stress happen to a process, says from
// outside whether they do, and undoes them.
//
// [Locate] finds the process and the cgroups that are its own, [Resolve] says of a fault
// what it would do or why it will not, and changes nothing, and [Make] gives the
// [Effect], whose level is set, measured and undone. Each change is a [Step] that is in
// a journal before it is made, and [Revert] undoes a step from any process.
//
// What takes memory in the cgroup of the target is a process of its own, the eater
// ([Eat], under the hidden verb [Verb]): it is the first that the kernel kills, it ends
// with the process that started it, and what it holds goes with it.
//
// The package decides nothing about when and how fast (packages ramp and keeper), and
// makes no cgroups. It needs Linux; elsewhere every call fails with a [*RefusedError].
package fault
