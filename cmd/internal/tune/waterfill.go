package tune

import (
	"math"
)

// A claim is what one process can do with extra heap.
type claim struct {
	cost        float64 // weight * CPU-seconds per cycle * bytes allocated per second: GC cores = cost/extra
	perByte     float64 // bytes of budget for each byte of extra heap
	least, most float64 // bounds of the extra heap, bytes
}

// at is the extra heap whose last byte of budget saves price cores.
func (c claim) at(price float64) float64 {
	if !(c.cost > 0) {
		return c.least
	}
	return min(max(math.Sqrt(c.cost/(c.perByte*price)), c.least), c.most)
}

// waterfill splits room, in bytes of budget, so that the sum of cost/extra is
// least. The problem is convex, and has one answer: every process that is at no
// bound pays the same for its last byte, cost/(perByte*extra²) = price. So the
// extra heap goes by the square root of cost/perByte, and what is at a bound
// stays there (water-filling). price is in cores per byte, 0 where all have
// their most; ok is false where the room does not hold the least of all.
func waterfill(room float64, claims []claim) (extra []float64, price float64, ok bool) {
	extra = make([]float64, len(claims))
	used := func(price float64) float64 {
		sum := 0.0
		for _, c := range claims {
			sum += c.perByte * c.at(price)
		}
		return sum
	}
	least, most := 0.0, 0.0
	for i, c := range claims {
		least += c.perByte * c.least
		extra[i] = c.least
		if c.cost > 0 {
			most += c.perByte * c.most
		} else {
			most += c.perByte * c.least
		}
	}
	// Sums that differ in the last digits are the same sum.
	const same = 1e-12
	if !(least <= room*(1+same)) {
		return extra, 0, false
	}
	if room >= most {
		for i, c := range claims {
			if c.cost > 0 {
				extra[i] = c.most
			}
		}
		return extra, 0, true
	}
	// What is used falls as the price rises. The price is found among all that
	// numbers can be, by halves of its exponent.
	low, high := -700.0, 700.0
	for range 200 {
		mid := (low + high) / 2
		if used(math.Exp(mid)) > room {
			low = mid
		} else {
			high = mid
		}
	}
	price = math.Exp(high)
	// The rest of the rounding goes to those at no bound, in closed form.
	free, roots := room, 0.0
	for i, c := range claims {
		extra[i] = c.at(price)
		if c.inside(extra[i]) {
			roots += math.Sqrt(c.perByte * c.cost)
		} else {
			free -= c.perByte * extra[i]
		}
	}
	if roots > 0 && free > 0 {
		price = (roots / free) * (roots / free)
		for i, c := range claims {
			if c.inside(extra[i]) {
				extra[i] = c.at(price)
			}
		}
		return extra, price, true
	}
	// All are at a bound: one more byte would go to who saves most by it.
	price = 0
	for i, c := range claims {
		if extra[i] < c.most && extra[i] > 0 {
			price = max(price, c.cost/(c.perByte*extra[i]*extra[i]))
		}
	}
	return extra, price, true
}

// inside reports whether extra heap is at no bound.
func (c claim) inside(extra float64) bool {
	const at = 1e-9
	return c.cost > 0 && extra > c.least*(1+at) && extra < c.most*(1-at)
}

// A point is a price for a limit: GC CPU, weighted, at a GOMEMLIMIT.
type point struct{ bytes, cost float64 }

// hull is the lower convex hull of points with rising bytes: what mixing them
// would cost. It falls everywhere.
func hull(points []point) []point {
	var out []point
	for _, p := range points {
		if math.IsNaN(p.cost) || math.IsInf(p.cost, 0) || len(out) > 0 && p.bytes <= out[len(out)-1].bytes {
			continue
		}
		if len(out) > 0 && p.cost >= out[len(out)-1].cost {
			continue // more memory that costs more: noise
		}
		for len(out) >= 2 && slope(out[len(out)-2], out[len(out)-1]) >= slope(out[len(out)-1], p) {
			out = out[:len(out)-1]
		}
		out = append(out, p)
	}
	return out
}

func slope(a, b point) float64 { return (b.cost - a.cost) / (b.bytes - a.bytes) }

// descend splits room along hulls: the next byte goes where it saves most. Each
// begins at the first point of its hull. price is what the last byte saved; ok
// is false where a hull is empty or the room does not hold the first points.
func descend(room float64, hulls [][]point) (bytes []float64, price float64, ok bool) {
	bytes = make([]float64, len(hulls))
	next := make([]int, len(hulls))
	for i, h := range hulls {
		if len(h) == 0 {
			return nil, 0, false
		}
		bytes[i], next[i] = h[0].bytes, 1
		room -= h[0].bytes
	}
	if room < 0 {
		return nil, 0, false
	}
	for room > 0 {
		best := -1
		for i, h := range hulls {
			if next[i] < len(h) && (best < 0 || slope(h[next[i]-1], h[next[i]]) < slope(hulls[best][next[best]-1], hulls[best][next[best]])) {
				best = i
			}
		}
		if best < 0 {
			return bytes, 0, true
		}
		h, n := hulls[best], next[best]
		step := min(room, h[n].bytes-h[n-1].bytes)
		price = -slope(h[n-1], h[n])
		bytes[best] += step
		room -= step
		next[best]++
	}
	return bytes, price, true
}
