package tune

import (
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A Tenant is one of several processes that share a budget.
type Tenant struct {
	Name   string
	Twin   Twin
	Weight float64 // what a core of its GC CPU counts for; 0 is 1
	// MaxBytes caps what it may get, 0 is no cap.
	MaxBytes uint64
	Process  record.Process
}

// A Total is what a way to split would come to.
type Total struct {
	Name       string           // "equal limits", "the same GOGC for all", ...
	GCCPUCores pacer.Estimate   // of all tenants together
	RSSPeak    pacer.Estimate   // of all tenants together
	Settings   []pacer.Settings // of each
	Fits       bool
	Note       string // what is wrong with it, "" for nothing
}

// A Slice is what one tenant gets.
type Slice struct {
	Name        string
	BudgetBytes uint64 // its part of the budget: Go's memory and the rest of the process
	ExtraBytes  uint64 // of it, the room between the live heap and the heap goal
	AtFloor     bool   // it would get less, but for the storm
	AtCap       bool   // it would get more, but for MaxBytes or because more brings nothing
	Settings    pacer.Settings
	Current     pacer.Forecast
	Expected    pacer.Forecast
	Risk        []string
}

// A Split is a budget shared among processes.
type Split struct {
	BudgetBytes  uint64
	ReserveBytes uint64 // for what was not measured, kept once for all
	Slices       []Slice
	// CoresPerMiB is the price of the last MiB: how much GC CPU one more would save.
	CoresPerMiB float64
	// SmallestBytes is the smallest budget that works.
	SmallestBytes uint64
	Refined       bool // a search on the twins found a better split than the square-root rule
	Expected      Total
	Others        []Total // as it is now, equal limits, the same GOGC for all
	Notes         []string
}

// Share splits a budget among processes so that they use the least GC CPU
// together. Errors: *LeakError (wrapped with the tenant's name), *BudgetError,
// *RequestError.
func Share(budget uint64, tenants []Tenant) (*Split, error) {
	return nil, &BudgetError{Budget: budget}
}
