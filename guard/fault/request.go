package fault

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode"
)

// DefaultLease is how long a fault lasts that is not renewed, where nothing else is
// asked for.
const DefaultLease = 2 * time.Second

const (
	leastLease = 100 * time.Millisecond
	maxBy      = 64
	// maxActive is how many faults there may be at once.
	maxActive = 16
)

// Errors of an Injector. *[RequestError] and *[BoundError] are the others.
var (
	// ErrUnknown is for an ID that no fault has, or has any more.
	ErrUnknown = errors.New("there is no such fault, or not any more")
	// ErrUnsupported is for a kind that this operating system cannot have.
	ErrUnsupported = errors.New("this kind of fault is not supported on this operating system")
	// ErrClosed is for an Injector that is closed.
	ErrClosed = errors.New("no fault is injected any more: it is closed")
)

// A RequestError is why a request cannot be.
type RequestError struct {
	Field string // by its name in the JSON of package debugz
	Why   string
}

func (e *RequestError) Error() string { return e.Field + " " + e.Why }

// A BoundError is why a request is more than may be.
type BoundError struct {
	What  string  // "bytes", "goroutines", "faults"
	Asked float64 // beside what there is
	Held  float64 // by the faults that there are, and by those of which memory is being given back
	Most  float64 // that there may be
}

func (e *BoundError) Error() string {
	return fmt.Sprintf("%.0f %s more than the %.0f that faults have are beyond the bound of %.0f; fault.Options sets it", e.Asked, e.What, e.Held, e.Most)
}

// A Request is what is to happen.
type Request struct {
	Kind Kind
	// Level is in the unit of the kind. Nothing is a level, too.
	Level float64
	// Size is of one object, stack or mapping, in bytes, for the kinds that have them.
	// 0 is what the kind has by default: of Churn, a mixture.
	Size uint64
	// Every is the time between two collections of ForcedGC, instead of a Level.
	Every time.Duration
	// Count is how many collections ForcedGC forces at most; it then does nothing until it
	// ends. 0 is as many as come.
	Count uint64
	// Lease is after what time it ends unless it is renewed. 0 is DefaultLease.
	Lease time.Duration
	// By says who asks, in 1 to 64 bytes: for the log, and for who looks.
	By string
	// From says from where, for the log.
	From string
}

// check says what of a request cannot be, and fills in what it leaves out.
func (r *Request) check(maxLease time.Duration) (*kindInfo, error) {
	k := r.Kind.info()
	if k == nil {
		return nil, &RequestError{"kind", fmt.Sprintf("is none of %v", Kinds())}
	}
	if r.Every != 0 {
		switch {
		case r.Kind != ForcedGC:
			return nil, &RequestError{"every_seconds", "is only for " + string(ForcedGC)}
		case r.Level != 0:
			return nil, &RequestError{"every_seconds", "is instead of a level"}
		case r.Every < 0:
			return nil, &RequestError{"every_seconds", "has to be above 0"}
		}
		r.Level = 1 / r.Every.Seconds()
	}
	if r.Count > 0 && r.Kind != ForcedGC {
		return nil, &RequestError{"count", "is only for " + string(ForcedGC)}
	}
	if err := k.checkLevel(r.Level); err != nil {
		return nil, err
	}
	switch {
	case r.Size == 0:
		r.Size = k.size
	case k.most == 0:
		return nil, &RequestError{"size_bytes", "is not for " + string(r.Kind)}
	case r.Size < k.least || r.Size > k.most:
		return nil, &RequestError{"size_bytes", fmt.Sprintf("is %d: %d to %d", r.Size, k.least, k.most)}
	default:
		r.Size = k.round(r.Size)
	}
	if r.Lease == 0 {
		r.Lease = min(DefaultLease, maxLease)
	}
	if err := checkLease(r.Lease, maxLease); err != nil {
		return nil, err
	}
	if r.By == "" || len(r.By) > maxBy {
		return nil, &RequestError{"by", fmt.Sprintf("has to say who asks, in 1 to %d bytes", maxBy)}
	}
	for _, c := range r.By {
		if !unicode.IsPrint(c) {
			return nil, &RequestError{"by", "has characters that cannot be printed"}
		}
	}
	return k, nil
}

func (k *kindInfo) checkLevel(level float64) error {
	switch {
	case math.IsNaN(level) || math.IsInf(level, 0) || level < 0:
		return &RequestError{"level", "has to be a number, 0 or above"}
	case k.max > 0 && level > k.max:
		return &RequestError{"level", fmt.Sprintf("is %g: at most %g %s", level, k.max, k.unit)}
	}
	return nil
}

func checkLease(lease, most time.Duration) error {
	if lease < leastLease || lease > most {
		return &RequestError{"lease_seconds", fmt.Sprintf("is %g: %g to %g", lease.Seconds(), leastLease.Seconds(), most.Seconds())}
	}
	return nil
}
