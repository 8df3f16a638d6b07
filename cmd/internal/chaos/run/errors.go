package run

// A RefusedError says why a plan is not carried out. Nothing was done.
type RefusedError struct {
	Why    string
	Err    error // the cause, where there is one
	Advice string
}

func (e *RefusedError) Error() string {
	if e.Err != nil {
		return e.Why + ": " + e.Err.Error()
	}
	return e.Why
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Hint is what a user can do about it.
func (e *RefusedError) Hint() string { return e.Advice }
