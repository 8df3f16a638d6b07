package ends

import (
	"fmt"
	"os"
	"testing"
)

func TestPasses(t *testing.T) {}

func TestEndsEarly(t *testing.T) {
	fmt.Println("about to end")
	os.Exit(3)
}
