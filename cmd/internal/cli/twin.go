package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// fitTwin makes the twin of a recording. Who named it is what the user gave, for
// the advice on what to record instead.
func fitTwin(rec *record.Recording, opt observeOptions, named string) (*pacer.Twin, error) {
	t, err := pacer.Fit(rec)
	if err != nil {
		return nil, unfit(err, rec, opt, named)
	}
	return t, nil
}

// unfit says what to do about a recording that no twin was made of. One that is
// too short is no failure: it tells nothing yet.
func unfit(err error, rec *record.Recording, opt observeOptions, named string) error {
	var short *pacer.ShortError
	var odd *pacer.UnfitError
	var unknown *pacer.UnsupportedError
	switch {
	case errors.As(err, &short) && short.Record > 0:
		longer := short.Record.Round(time.Second)
		if watched(rec, named) {
			return &exitError{ExitInconclusive, hinted(err, "heapwright %s %s --for %v watches it long enough", opt.command, named, longer)}
		}
		return &exitError{ExitInconclusive, hinted(err, "heapwright record PID --for %v -o FILE makes a recording that is long enough", longer)}
	case errors.As(err, &short):
		return &exitError{ExitInconclusive, hinted(err, "record it while it does the work that the settings are for")}
	case errors.As(err, &odd):
		return hinted(err, "heapwright record PID reads all that a twin needs from the memory of a process")
	case errors.As(err, &unknown):
		return hinted(err, "heapwright version says which Go releases are known")
	}
	return err
}

// watched reports whether a recording was just made of a process that has a name to
// call it by.
func watched(rec *record.Recording, named string) bool {
	return rec.Process.PID != 0 && (named == fmt.Sprint(rec.Process.PID) || named == rec.Process.Name)
}
