package raced

import "testing"

func TestAllocates(t *testing.T) {
	if race {
		t.Skip("the race detector allocates")
	}
}

func TestSome(t *testing.T) {
	t.Run("allocates", func(t *testing.T) {
		if race {
			t.Skip("the race detector allocates")
		}
		t.Skip("needs root")
	})
}
