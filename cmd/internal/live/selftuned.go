package live

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/remote"
)

const ours = "github.com/heapwright/heapwright/"

// tuners are packages that set GOGC or GOMEMLIMIT again and again. Their
// functions are in a program only if it calls them.
var tuners = []string{
	ours + "memlimit.",
	ours + "guard.",
	"github.com/bytedance/gopkg/util/gctuner.",
	"github.com/cch123/gogctuner.",
	"github.com/fangwentong/gogctuner.",
	"github.com/newcloudtechnologies/memlimiter.",
	"github.com/pingcap/tidb/pkg/util/gctuner.",
	"github.com/pingcap/tidb/util/gctuner.",
}

// refreshers are packages that set the memory limit once, or from a goroutine of
// their own again and again, depending on how they were called.
var refreshers = []string{"github.com/KimMachineGun/automemlimit/memlimit."}

// setters are what the public functions of runtime/debug call. They are linked
// only if something calls those.
var setters = map[string]string{
	"runtime/debug.setGCPercent":   "debug.SetGCPercent",
	"runtime/debug.setMemoryLimit": "debug.SetMemoryLimit",
}

// selfTuned says what of a program sets what we want to set: an error for what
// does so all the time, notes for what may.
func selfTuned(t *remote.Target) (*SelfTunedError, []string, error) {
	wanted := append(append([]string{}, tuners...), refreshers...)
	for s := range setters {
		wanted = append(wanted, s)
	}
	found, err := t.Table().NamesBegin(wanted)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range tuners {
		if found[p] {
			return &SelfTunedError{By: strings.TrimSuffix(p, "."), Ours: strings.HasPrefix(p, ours)}, nil, nil
		}
	}
	var notes []string
	for _, p := range refreshers {
		if !found[p] {
			continue
		}
		runs, err := runsIn(t, p)
		name := strings.TrimSuffix(p, ".")
		switch {
		case err != nil:
			notes = append(notes, fmt.Sprintf("The program uses %s, and whether that refreshes the memory limit cannot be seen: %v.", name, err))
		case runs:
			return &SelfTunedError{By: name}, nil, nil
		default:
			notes = append(notes, fmt.Sprintf("The program uses %s, which set the memory limit when it started; it does not refresh it.", name))
		}
	}
	for _, s := range []string{"runtime/debug.setGCPercent", "runtime/debug.setMemoryLimit"} {
		if found[s] {
			notes = append(notes, fmt.Sprintf("The program calls %s somewhere: it may set again what is set here. Environment variables may have no effect either.", setters[s]))
		}
	}
	return nil, notes, nil
}

// runsIn reports whether a goroutine has a function of the package on its stack.
func runsIn(t *remote.Target, prefix string) (bool, error) {
	g, err := profile.TakeGoroutines(t, profile.Options{NoWaits: true})
	if err != nil {
		return false, err
	}
	for i := range g.Groups {
		for _, pc := range g.Groups[i].PCs {
			if strings.HasPrefix(t.Table().FuncName(pc-1), prefix) {
				return true, nil
			}
		}
	}
	return false, nil
}
