package tune

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
)

// A LeakError says that the live heap grows, so that no size fits it.
type LeakError struct {
	BytesPerSecond float64
	BudgetBytes    uint64        // 0 when none is known
	FillsIn        time.Duration // until the budget is full at this rate; 0 when it is not known
}

func (e *LeakError) Error() string {
	text := fmt.Sprintf("the live heap grows by %s/s", rule.FormatBytes(e.BytesPerSecond))
	if e.FillsIn > 0 {
		text += fmt.Sprintf(" and fills %s in %s", rule.FormatBytes(float64(e.BudgetBytes)), rule.FormatSeconds(e.FillsIn.Seconds()))
	}
	return text + ": no setting fits what grows"
}

// Hint says what to do next.
func (e *LeakError) Hint() string {
	return "if this is the warm-up, record again after it; else it is a leak, and `heapwright diagnose` says what is kept and where it was allocated"
}

// A BudgetError says that a budget is too small.
type BudgetError struct {
	Budget, Smallest uint64 // bytes; the smallest that works, 0 where none was found
	Reason           string // what does not fit
}

func (e *BudgetError) Error() string {
	switch {
	case e.Smallest == 0 && e.Budget >= most:
		return "no budget that was tried works: " + e.Reason
	case e.Smallest == 0:
		return fmt.Sprintf("%s does not work: %s; nor does any larger budget that was tried", rule.FormatBytes(float64(e.Budget)), e.Reason)
	case e.Budget == 0:
		return fmt.Sprintf("a budget of 0 holds nothing; the smallest that works is %s", rule.MemLimitUp(float64(e.Smallest)))
	}
	return fmt.Sprintf("%s is too small: %s; the smallest budget that works is %s",
		rule.FormatBytes(float64(e.Budget)), e.Reason, rule.MemLimitUp(float64(e.Smallest)))
}

// Hint says what to do next.
func (e *BudgetError) Hint() string {
	if e.Smallest == 0 {
		return "record it again at its usual load, and for longer: `heapwright predict` shows what each setting would do"
	}
	return fmt.Sprintf("plan for %s or more, or make less live", rule.MemLimitUp(float64(e.Smallest)))
}

// A NoBudgetError says that nothing limits the process's memory and the request
// names no limit.
type NoBudgetError struct{}

func (e *NoBudgetError) Error() string { return "the process has no memory limit to plan for" }

// Hint says what to do next.
func (e *NoBudgetError) Hint() string {
	return "say how much memory it may have: --memory-limit 512MiB"
}

// A BoundError says that no setting keeps to the bounds of an objective.
type BoundError struct {
	Quantity    string  // gc_cpu_ratio, pause_ratio, assist_ratio
	Bound, Best float64 // what was asked for, and the least that a setting within the budget reaches
}

func (e *BoundError) Error() string {
	return fmt.Sprintf("no setting within the budget keeps %s to %s; the least is %s",
		e.Quantity, share(e.Bound), share(e.Best))
}

// Hint says what to do next.
func (e *BoundError) Hint() string {
	return "allow more memory, loosen the bound, or allocate less (`heapwright diagnose` names where)"
}

// A RequestError says that a request makes no sense.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return "the request makes no sense: " + e.Reason }
