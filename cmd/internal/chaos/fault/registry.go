package fault

import (
	"context"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// kinds are the faults that can be made. Nothing that a function here calls may read
// the table.
var kinds = map[chaos.Kind]kind{}

// reverts undo the steps of each kind.
var reverts = map[string]func(context.Context, Step) error{
	StepFile:    revertFile,
	StepProcess: revertProcess,
	StepStopped: revertStopped,
	StepRemove:  revertRemove,
}
