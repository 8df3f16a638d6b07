package keeper

import "fmt"

// A BusyError says that another plan runs on the same process, or in the same cgroup.
type BusyError struct {
	What string `json:"what"` // "process 123", or the directory of a cgroup
	Tool string `json:"tool"` // who has it
	PID  int    `json:"pid"`  // of that tool, 0 when it is not known
	Plan string `json:"plan"` // its name
}

func (e *BusyError) Error() string {
	who := "another heapwright stress"
	if e.PID > 0 {
		who += fmt.Sprintf(" (process %d", e.PID)
		if e.Plan != "" {
			who += fmt.Sprintf(", plan %.100q", e.Plan)
		}
		who += ")"
	}
	return fmt.Sprintf("%s is under stress already: %s has it", e.What, who)
}

// Hint says what to do.
func (e *BusyError) Hint() string { return "wait until it has ended: two plans at once show nothing" }

// A FailedError is what the keeper says went wrong.
type FailedError struct {
	Doing string
	Why   string
	hint  string
}

func (e *FailedError) Error() string { return e.Doing + ": " + e.Why }

// Hint is the cause's own, "" when it has none.
func (e *FailedError) Hint() string { return e.hint }
