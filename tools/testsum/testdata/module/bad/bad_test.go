package bad

import "testing"

func TestPasses(t *testing.T) { t.Log("nobody reads this") }

func TestTable(t *testing.T) {
	t.Run("fine", func(t *testing.T) {})
	t.Run("wrong", func(t *testing.T) { t.Error("got 1, want 2") })
}

func TestOwn(t *testing.T) {
	t.Run("fine", func(t *testing.T) {})
	t.Error("the subtests do not add up")
}
