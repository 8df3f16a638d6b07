package grave

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestOnce has what the race detector prints when it is run first.
func TestOnce(t *testing.T) {
	marker := filepath.Join(os.Getenv("UNSTEADY_DIR"), "marker")
	if _, err := os.Stat(marker); err == nil {
		return
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Println("WARNING: DATA RACE")
	t.Error("once is enough")
}
