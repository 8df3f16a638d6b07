package memlimit

import (
	"math"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cgroup"
)

// lookAnew is how long the files of a group are read as they are. After that the group
// is looked for again: the process may have been moved, and file systems mounted.
const lookAnew = 10 * time.Second

// A groupReader looks at the cgroups of this process. In between it asks no more than
// whether the limits are the same, and how much is used.
type groupReader struct {
	self   func() (*cgroup.Group, error)
	reader *cgroup.Reader // nil: look anew
	at     time.Time      // of the last look of all
	last   groupLook
	stats  cgroup.Stats
}

func (r *groupReader) look() groupLook {
	if r.reader != nil && time.Since(r.at) < lookAnew {
		limit, high := r.limits()
		if err := r.reader.Read(&r.stats); err == nil && r.stats.Has(cgroup.StatMemoryParts) == r.last.measured {
			if l, h := r.limits(); l == limit && h == high {
				if r.last.measured {
					r.last.used = r.stats.MemoryParts.NonReclaimable
				}
				return r.last
			}
		}
	}
	r.close()
	g, err := r.self()
	r.last, r.at = look(g, err), time.Now()
	if r.last.err != nil {
		return r.last
	}
	which := cgroup.StatMemoryLimit | cgroup.StatMemoryHigh
	if r.last.measured {
		which |= cgroup.StatMemoryParts // the kernel gathers it, which takes its time
	}
	// What cannot be kept open is looked at anew each time.
	if r.reader, err = g.NewReader(which); err != nil {
		r.reader = nil
	} else if err = r.reader.Read(&r.stats); err != nil {
		r.close()
	}
	return r.last
}

// limits are those that were last read, math.MaxUint64 for none.
func (r *groupReader) limits() (limit, high uint64) {
	limit, high = math.MaxUint64, math.MaxUint64
	if r.stats.Has(cgroup.StatMemoryLimit) {
		limit = r.stats.MemoryLimit
	}
	if r.stats.Has(cgroup.StatMemoryHigh) {
		high = r.stats.MemoryHigh
	}
	return limit, high
}

// close closes the files.
func (r *groupReader) close() {
	if r.reader != nil {
		r.reader.Close()
		r.reader = nil
	}
}

// look looks at a group and all above it.
func look(g *cgroup.Group, err error) (l groupLook) {
	if err != nil {
		l.err = err
		l.looks = append(l.looks, Look{Source: SourceCgroup, Found: "nothing", Why: err.Error()})
		return l
	}
	levels, err := g.MemoryLevels()
	if err != nil {
		l.err = err
		l.looks = append(l.looks, Look{Source: SourceCgroup, Where: g.Path(), Found: "nothing", Why: err.Error()})
		return l
	}
	consider := func(v uint64, has bool, s Source, dir string) {
		look := Look{Source: s, Where: dir, Found: "max"}
		if has {
			look.Found = strconv.FormatUint(v, 10)
		}
		if has && (!l.limited || v < l.limit) {
			l.limit, l.limited, l.high, l.path = v, true, s == SourceCgroupHigh, dir
		}
		l.looks = append(l.looks, look)
	}
	for _, v := range levels {
		consider(v.Limit, v.HasLimit, SourceCgroup, v.Dir)
		if v.HasHigh {
			consider(v.High, true, SourceCgroupHigh, v.Dir)
		}
	}
	// A limit above what we can see of the path is told by memory.stat alone.
	if limit, ok, err := g.MemoryLimit(); err == nil && ok && (!l.limited || limit < l.limit) {
		consider(limit, true, SourceCgroup, g.Path()+" (a group above that is not visible here)")
	}
	if l.limited {
		l.used, err = g.MemoryNonReclaimable()
		l.measured, l.err = err == nil, err
	}
	return l
}
