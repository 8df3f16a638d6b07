package sense

import (
	"os"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

func TestReadSelf(t *testing.T) {
	s, err := Open(t.Context(), os.Getpid(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	began := time.Now()
	var p chaos.Point
	for range 15 {
		p = s.Read(time.Since(began))
		time.Sleep(100 * time.Millisecond)
	}
	t.Log(p, s.Events(), s.Why())
}
