// Package paired is the statistics of an experiment: what n pairs of measurements
// say about the ratio of a variant to its baseline.
//
// Everything is on the log scale. A pair's value is d = ln(variant/baseline); an
// estimate of 0 is no change, of ln(1.1) = 0.095 a tenth more. math.Exp of an
// estimate or a bound is the ratio. A margin m means a ratio between 1/(1+m) and
// 1+m, which is the symmetric interval ±ln(1+m).
//
// The unit is the pair: two blocks of fresh processes, or two processes at once.
// Requests within a block are not independent, and are not counted as if they were.
// What the pairs must be for the statements to hold is that they are independent
// of each other and that their values lie symmetrically around the effect. A
// schedule that draws by lot which of the two goes first gives the symmetry, and
// takes what drifts slowly out of the differences.
//
// Significance levels named alpha are one-sided, per bound: an interval with alpha
// 0.05 is a 90% interval. That is what a test of one margin needs (Schuirmann 1987),
// and two of them at once are the test of equivalence.
//
// The package measures nothing, and keeps nothing: the same values, levels and
// seeds give the same results, bit by bit, so that a verdict can be recomputed.
// Values that are not finite are refused and never skipped: estimates become NaN,
// intervals -Inf to +Inf, p-values 1.
package paired
