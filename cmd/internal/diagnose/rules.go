package diagnose

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/assist"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/blocked"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/churn"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/forcedgc"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/fragmentation"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/gccpu"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/godebug"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/gogclow"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/gogcoff"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/gomaxprocs"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/goroutines"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/incomplete"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/largeobjects"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/limitabove"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/limitnearlive"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/limitunset"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/liveheap"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/neighbour"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/notenough"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/outside"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/pagecache"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/pauses"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/reclaim"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/scavenger"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/schedlatency"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/settingchanged"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/settingignored"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/sharedmemory"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/stacks"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/step"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/stopped"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/stopping"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/throttled"
)

// rules are all rules, by ID: 10xx settings, 20xx allocation, 30xx retention, 40xx
// latency, 90xx the recording itself. An ID is never used again. A test checks
// that every directory under rules is here.
var rules = []*Rule{
	&limitunset.Rule,
	&limitabove.Rule,
	&limitnearlive.Rule,
	&gogcoff.Rule,
	&gogclow.Rule,
	&forcedgc.Rule,
	&gomaxprocs.Rule,
	&godebug.Rule,
	&settingignored.Rule,
	&settingchanged.Rule,

	&churn.Rule,
	&assist.Rule,
	&gccpu.Rule,
	&largeobjects.Rule,

	&liveheap.Rule,
	&goroutines.Rule,
	&blocked.Rule,
	&stacks.Rule,
	&outside.Rule,
	&fragmentation.Rule,
	&scavenger.Rule,
	&step.Rule,
	&neighbour.Rule,
	&sharedmemory.Rule,
	&pagecache.Rule,

	&pauses.Rule,
	&stopping.Rule,
	&schedlatency.Rule,
	&throttled.Rule,
	&reclaim.Rule,
	&stopped.Rule,

	&notenough.Rule,
	&incomplete.Rule,
}
