package forward

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// cursorSchema is the schema field of a cursor's file.
const cursorSchema = "heapwright.cursor/1"

// A cursor is how far a destination has come. Everything before Until was taken by
// the other side, or refused for good.
type cursor struct {
	Schema string    `json:"schema"`
	Until  time.Time `json:"until"`
	// Flight is the end of a request that was under way, where that is of more than one
	// cell of the grid.
	Flight time.Time `json:"flight,omitzero"`
	// Sent are the snapshots at Until, or after, that were taken already.
	Sent []string `json:"sent,omitempty"`
}

const maxCursor = 1 << 20

// loadCursor reads a cursor. The error is an fs.ErrNotExist where there is none.
func loadCursor(name string) (cursor, error) {
	f, err := os.Open(name)
	if err != nil {
		return cursor{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCursor+1))
	if err != nil {
		return cursor{}, err
	}
	var c cursor
	if err := json.Unmarshal(text, &c); err != nil {
		return cursor{}, fmt.Errorf("%s is no cursor: %w", filepath.Base(name), err)
	}
	if c.Schema != cursorSchema || c.Until.Year() < 1970 || c.Until.Year() > 2200 {
		return cursor{}, fmt.Errorf("%s is no cursor of this release: its schema is %.40q", filepath.Base(name), c.Schema)
	}
	return c, nil
}

// save writes the cursor beside its place, makes it last, and names it: after a crash
// there is the old one or the new one.
func (c cursor) save(name string) (err error) {
	c.Schema = cursorSchema
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("keeping the cursor: %w", err)
	}
	partial := name + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the cursor: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		os.Remove(partial)
		return fmt.Errorf("keeping the cursor: %w", err)
	}
	return nil
}

// begin returns the cursor in a file. Where there is none, or none that can be
// understood, it begins at an instant, and is there from now on.
func begin(name string, at time.Time) (cursor, error) {
	c, err := loadCursor(name)
	if err == nil {
		return c, nil
	}
	c = cursor{Until: at}
	if saveErr := c.save(name); saveErr != nil {
		return c, saveErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return c, err
}
