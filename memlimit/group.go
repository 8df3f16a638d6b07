package memlimit

import (
	"strconv"

	"github.com/heapwright/heapwright/cgroup"
)

// lookAtGroup looks at the cgroups of this process, anew each time: the process may
// have been moved, and file systems mounted since.
func lookAtGroup() groupLook { return look(cgroup.Self) }

func look(self func() (*cgroup.Group, error)) (l groupLook) {
	g, err := self()
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
