package paired

// pocock are the nominal levels of Pocock's two-sided 5% test with 1 to 10 equally
// spaced looks (Pocock 1977; Jennison and Turnbull 2000, table 2.1).
var pocock = [...]float64{0.05, 0.0294, 0.0221, 0.0182, 0.0158, 0.0142, 0.0130, 0.0120, 0.0112, 0.0106}

// LookAlpha is the one-sided level for the interval of each look, so that an
// experiment that may stop at any of them, declared beforehand, makes a false
// statement at a margin with at most 5%. Use it for the intervals of all looks, also
// of the last one.
//
// The levels are those of Pocock's two-sided test, taken for each side: 0.0158 with
// five looks, where the one-sided constant would be 0.0169. The difference pays for
// looks that are not quite equally spaced: the looks at 10, 16, 24, 32 and 40 come to
// 4.5%. Four of which each has twice the pairs of the one before come to 5.3%, five to
// 5.7%. Above ten looks the level is 0.05 divided by their number, which holds for any
// spacing (Bonferroni).
func LookAlpha(looks int) float64 {
	switch {
	case looks <= 1:
		return pocock[0]
	case looks <= len(pocock):
		return pocock[looks-1]
	}
	return pocock[0] / float64(looks)
}
