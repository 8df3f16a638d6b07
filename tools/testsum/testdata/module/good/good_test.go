package good

import (
	"fmt"
	"testing"
)

func TestPasses(t *testing.T) { t.Log("nobody reads this"); fmt.Println("nor this") }

func TestTable(t *testing.T) {
	for _, name := range []string{"one", "two", "three"} {
		t.Run(name, func(t *testing.T) {
			if name != "one" {
				t.Skip("needs root")
			}
		})
	}
}

func TestVersion(t *testing.T) { t.Skipf("needs kernel %s", "5.8") }

func TestSkipsTwoLines(t *testing.T) { t.Skip("needs root\nand more") }

func TestSkipsOnceMore(t *testing.T) { t.Skip("needs root") }

func TestSaysNothing(t *testing.T) { t.SkipNow() }

func FuzzSeeds(f *testing.F) {
	f.Add(1)
	f.Add(2)
	f.Fuzz(func(t *testing.T, _ int) {})
}
