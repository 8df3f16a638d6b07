package tune

// Make chooses settings for the process that a twin is of. Errors: *LeakError,
// *BudgetError, *NoBudgetError, *BoundError, *RequestError, *pacer.UnfitError.
func Make(t Twin, r Request) (*Plan, error) {
	return nil, &NoBudgetError{}
}
