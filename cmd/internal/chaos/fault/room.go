package fault

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
)

// Look says what this machine has.
func Look() (Room, error) { return look("") }

func look(root string) (Room, error) {
	path := filepath.Join(root, "/proc/meminfo")
	text, err := readText(path)
	if err != nil {
		return Room{}, fmt.Errorf("reading what memory the machine has: %w", err)
	}
	r := Room{CPUs: runtime.NumCPU()}
	var ok [2]bool
	r.TotalBytes, ok[0] = kib(text, "MemTotal")
	r.AvailableBytes, ok[1] = kib(text, "MemAvailable")
	r.SwapBytes, _ = kib(text, "SwapTotal")
	if !ok[0] || !ok[1] {
		return r, fmt.Errorf("reading what memory the machine has: %w", errors.New(path+" does not say it"))
	}
	return r, nil
}
