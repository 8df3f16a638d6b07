// Package jsonl keeps the results of a long campaign in a file, one JSON value a
// line, so that a campaign can be stopped and gone on with. It does not know what
// the values are.
package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Read reads all values of a file; of one that is not there, none.
func Read[T any](path string) (out []T, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %w", path, n, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Append adds a value to a file.
func Append[T any](path string, v T) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
