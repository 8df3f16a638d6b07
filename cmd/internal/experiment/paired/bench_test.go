package paired

import (
	"math/rand/v2"
	"testing"
)

func BenchmarkSignedRank(b *testing.B) {
	d := draws(1, 40, func(r *rand.Rand) float64 { return r.NormFloat64() })
	b.ReportAllocs()
	for b.Loop() {
		SignedRank(d, 0.0158)
	}
}

func BenchmarkSignFlip(b *testing.B) {
	d := draws(1, 40, func(r *rand.Rand) float64 { return r.NormFloat64() })
	b.ReportAllocs()
	for b.Loop() {
		SignFlip(d, 1)
	}
}

func BenchmarkPooledQuantile(b *testing.B) {
	var base, variant [][]float64
	for i := range uint64(40) {
		base = append(base, draws(2*i, 50, func(r *rand.Rand) float64 { return r.ExpFloat64() }))
		variant = append(variant, draws(2*i+1, 50, func(r *rand.Rand) float64 { return r.ExpFloat64() }))
	}
	b.ReportAllocs()
	for b.Loop() {
		PooledQuantile(base, variant, 0.9, 0.0158, 1)
	}
}
