package unsteady

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOnce fails when it is run first.
func TestOnce(t *testing.T) {
	marker := filepath.Join(os.Getenv("UNSTEADY_DIR"), "marker")
	if _, err := os.Stat(marker); err == nil {
		return
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Error("the machine was busy")
}
