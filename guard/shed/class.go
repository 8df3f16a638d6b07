package shed

import (
	"encoding/json"
	"fmt"
)

// A Class says how much it matters that a request is served now. The zero Class
// is Normal, so that what nobody classified is nothing special.
type Class uint8

const (
	Normal   Class = iota
	Low            // refused first: what can as well be done later, such as prefetching and batch work
	High           // refused last
	Critical       // never refused: what ends other work and so frees memory (commit, cancel, release), and administration

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
// constants is not that of their rank. Of a class that the literal leaves out
// nothing is admitted: name Low, Normal and High, or change what All returns. The
// share of Critical is not looked at.
type Shares [NumClasses]float64

// All returns the Shares that admit everything.
func All() Shares { return Shares{1, 1, 1, 1} }

// MarshalJSON writes an object with the classes' names.
func (s Shares) MarshalJSON() ([]byte, error) { return marshalByClass(s) }

// UnmarshalJSON reads such an object; a class that is not in it has the share 1.
func (s *Shares) UnmarshalJSON(data []byte) error {
	*s = All()
	return unmarshalByClass(data, (*[NumClasses]float64)(s))
}

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

// MarshalJSON writes an object with the classes' names.
func (c Counts) MarshalJSON() ([]byte, error) { return marshalByClass(c) }

// UnmarshalJSON reads such an object; a class that is not in it counts 0.
func (c *Counts) UnmarshalJSON(data []byte) error {
	*c = Counts{}
	return unmarshalByClass(data, (*[NumClasses]uint64)(c))
}

func marshalByClass[T any](values [NumClasses]T) ([]byte, error) {
	m := make(map[Class]T, NumClasses)
	for c, v := range values {
		m[Class(c)] = v
	}
	return json.Marshal(m)
}

func unmarshalByClass[T any](data []byte, values *[NumClasses]T) error {
	var m map[Class]T
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("reading values by class: %w", err)
	}
	for c, v := range m {
		values[c] = v
	}
	return nil
}
