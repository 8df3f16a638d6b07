// Package chaos has the words of stress: what a plan says, what was seen while it was
// carried out, and what came of it.
//
// A plan names a target, the load on it, a hypothesis of what has to hold, and faults:
// things that happen to the target for a while. Each fault has a level, in the unit of
// its kind, which a ramp takes up and holds. What is seen are points, ten a second, of
// values that have a name each.
//
// The packages below do the work. Package planfile reads plans, fault makes faults and
// undoes them, keeper is the process that holds them on a lease and watches what must
// not happen, sense takes the points, ramp and judge decide, run conducts, report
// shows. This one decides nothing and touches nothing.
package chaos
