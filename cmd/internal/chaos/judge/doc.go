// Package judge says what a run of stress comes to: whether a condition ends it, whether
// the hypothesis holds, whether the target has recovered, and the verdict.
//
// It is pure: everything is a function of the plan, the points, the cycles and the
// events. What could not be seen is unknown, and unknown is no reason to accuse. What
// is used while a plan is carried out (Abort, Hypothesis, Recovery) is what Judge uses
// on the result, so that both come to the same.
package judge
