package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

func TestPrintError(t *testing.T) {
	cause := errors.New("cause")
	advised := hinted(cause, "do %s", "this")
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", cause, "heapwright: cause\n"},
		{"hint", advised, "heapwright: cause\nheapwright: hint: do this\n"},
		{"wrapped", fmt.Errorf("doing x: %w", advised), "heapwright: doing x: cause\nheapwright: hint: do this\n"},
		{"empty hint around one", hinted(fmt.Errorf("outer: %w", advised), ""), "heapwright: outer: cause\nheapwright: hint: do this\n"},
		{"joined", errors.Join(cause, advised), "heapwright: cause cause\nheapwright: hint: do this\n"},
		{"memory", &procmem.Error{Op: "read", PID: 7, Err: procmem.ErrAccess, Hint: "be root"}, "heapwright: read process 7: access denied\nheapwright: hint: be root\n"},
		{"exited", process.Ended(&procmem.Error{Op: "read", PID: 7, Err: procmem.ErrExited}), "heapwright: read process 7: the process has exited\nheapwright: hint: heapwright ps lists the Go processes of this host\n"},
		{"hostile", errors.New("a\x1b[2J\nb"), "heapwright: a\ufffd[2J b\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			printError(&b, tc.err)
			if b.String() != tc.want {
				t.Errorf("got %q, want %q", b.String(), tc.want)
			}
		})
	}
}
