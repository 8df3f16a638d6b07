// Package experiment holds the words of an experiment: the plan that is written
// before there are data, the blocks that are measured, and the verdict on them.
//
//	plan      what is compared, under what load, by which metrics, how long
//	schedule  which variant runs when: drawn from the plan's seed
//	block     one stretch of load on fresh processes, and what was measured
//	pair      two measurements that differ in the variant alone
//	verdict   what the pairs show, metric by metric, and in sum
//
// The packages below it do the work: planfile reads plans, subject builds and
// runs programs, load drives them, measure looks at them, schedule draws the
// order, judge comes to the verdict, journal keeps everything, report shows it,
// run does one after the other. This package does nothing.
package experiment
