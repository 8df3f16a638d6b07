package record

import "fmt"

// A NotRecordingError says that what was read is not a recording at all.
type NotRecordingError struct {
	Reason string // what was found instead
	Hint   string // what to do, "" when there is nothing to say
}

func (e *NotRecordingError) Error() string {
	if e.Hint == "" {
		return "not a recording: " + e.Reason
	}
	return "not a recording: " + e.Reason + "; " + e.Hint
}

// A SchemaError says that a recording was written in a format that this
// version does not know, most likely by a newer one.
type SchemaError struct {
	Got       string
	Supported string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the recording has the schema %q, this version reads %q: use the version that wrote it, or a newer one", e.Got, e.Supported)
}

// A CorruptError says where a recording is damaged. What was read before it is
// good, but for a damaged gzip member, whose checksum could not be compared.
type CorruptError struct {
	Line   int64 // number of the line, from 1, at or after which the damage is
	Offset int64 // bytes of the file that were read until it was noticed
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the recording is damaged at line %d, within its first %d bytes: %v", e.Line, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// A LimitError says which of a reader's limits a recording exceeds.
type LimitError struct {
	What  string // "bytes of a line", "cycles", ...
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the recording has more %s than the %d that are allowed", e.What, e.Limit)
}
