package measure

import (
	"math"

	"github.com/heapwright/heapwright/record"
)

// classPages is class_to_allocnpages (runtime/sizeclasses.go; from Go 1.25
// internal/runtime/gc, SizeClassToNPages), the same in Go 1.20 to 1.27: pages of
// 8 KiB of a span of each class.
var classPages = [record.NumSizeClasses]uint8{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	2, 1, 2, 1, 2, 1, 3, 2, 3, 1, 3, 2, 3, 4, 5, 6, 1, 7, 6, 5, 4, 3, 5, 7, 2, 9, 7, 5, 8, 3, 10, 7, 4}

// classSize is class_to_size of the same files.
var classSize = [record.NumSizeClasses]uint16{0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256,
	288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200,
	3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480,
	21760, 24576, 27264, 28672, 32768}

const pageSize = 8 << 10

// tinyClass is the class of the blocks that objects of the tiny allocator share.
const tinyClass = 2

// lag is how far the growth of the counters of allocation between two samples may
// be off, as a standard deviation.
//
// A P counts small objects when it is done with the span that it takes them from
// (runtime/mcache.go, refill), or when a cycle takes the span away from it; large
// ones are counted at once. So at any instant each P has, for each class and twice
// (objects with pointers and without), some part of a span that is not counted yet.
// Taken as spread evenly between none and all of it, the difference of two such
// parts has a variance of a sixth of the span squared. Classes of which nothing was
// counted in between are not in use.
func lag(first, last *record.Sample) (bytes, objects float64, ok bool) {
	for _, f := range []record.Field{record.FieldSizeClassAllocs, record.FieldTinyAllocs, record.FieldGOMAXPROCS} {
		if !first.Has.Has(f) || !last.Has.Has(f) {
			return 0, 0, false
		}
	}
	caches := 2 * float64(max(first.GOMAXPROCS, last.GOMAXPROCS, 1))
	for c := 1; c < record.NumSizeClasses; c++ {
		a, b := first.SizeClassAllocs[c], last.SizeClassAllocs[c]
		if b < a {
			return 0, 0, false
		}
		if b == a {
			continue
		}
		span := float64(classPages[c]) * pageSize
		slots := span / float64(classSize[c])
		bytes += caches * span * span / 6
		// The objects in tiny blocks are counted together with the blocks.
		if c == tinyClass && last.TinyAllocs > first.TinyAllocs {
			slots *= 1 + float64(last.TinyAllocs-first.TinyAllocs)/float64(b-a)
		}
		objects += caches * slots * slots / 6
	}
	return math.Sqrt(bytes), math.Sqrt(objects), true
}
