package shed

import "fmt"

// A Class says how much it matters that a request is served now. The zero Class
// is Normal, so that what nobody classified is nothing special.
type Class uint8

const (
	Normal   Class = iota
	Low            // refused first: what is repeated later without loss, prefetching, batch work
	High           // refused after Normal
	Critical       // never refused: what ends other work or frees memory (commit, cancel, release), and administration

	NumClasses = 4
)

var classNames = [NumClasses]string{Normal: "normal", Low: "low", High: "high", Critical: "critical"}

// Classes are all the classes, the first to be refused first.
var Classes = [NumClasses]Class{Low, Normal, High, Critical}

// String returns the name in lower case.
func (c Class) String() string {
	if c < NumClasses {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// ParseClass returns the class of a name that String gives.
func ParseClass(name string) (Class, error) {
	for c, n := range classNames {
		if n == name {
			return Class(c), nil
		}
	}
	return Normal, fmt.Errorf("parsing class: %q is none of low, normal, high, critical", name)
}

// MarshalText returns the name; a number that is no class is an error.
func (c Class) MarshalText() ([]byte, error) {
	if c < NumClasses {
		return []byte(classNames[c]), nil
	}
	return nil, fmt.Errorf("writing class: %d is none of the %d", uint8(c), NumClasses)
}

// UnmarshalText is the reverse of MarshalText.
func (c *Class) UnmarshalText(text []byte) error {
	parsed, err := ParseClass(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Shares are what part of the requests of each class is admitted, from 0 to 1.
// Write them by class, Shares{Low: 0, Normal: 0.5, High: 1}: the order of the
// constants is not that of their rank. The share of Critical is not looked at.
type Shares [NumClasses]float64

// All returns the Shares that admit everything.
func All() Shares { return Shares{1, 1, 1, 1} }

// Counts holds a number for each class.
type Counts [NumClasses]uint64

// Total returns the sum over the classes.
func (c Counts) Total() uint64 {
	var sum uint64
	for _, n := range c {
		sum += n
	}
	return sum
}
