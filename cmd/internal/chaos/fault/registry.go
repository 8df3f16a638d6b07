package fault

import (
	"context"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// kinds are the faults that can be made. Nothing that a function here calls may read
// the table.
var kinds = map[chaos.Kind]kind{
	chaos.CPUQuota:  {resolveQuota, makeQuota},
	chaos.Freeze:    {resolveFreeze, makeFreeze},
	chaos.Sibling:   {resolveEater, makeEater},
	chaos.PageCache: {resolveEater, makeEater},
	chaos.Shared:    {resolveEater, makeEater},
	chaos.Reclaim:   {resolveReclaim, makeReclaim},
	chaos.HardLimit: {resolveLimit, makeLimit},

	chaos.SoftLimit:      {resolveSoft, makeSoft},
	chaos.SlowDependency: {resolveProxy, makeProxy},
	chaos.BlackHole:      {resolveSever, makeSever},
	chaos.ResetPeer:      {resolveSever, makeSever},
	chaos.Connections:    {resolveFlood, makeFlood},

	chaos.Churn:      {resolveHook, makeHook},
	chaos.Retain:     {resolveHook, makeHook},
	chaos.Pointers:   {resolveHook, makeHook},
	chaos.Large:      {resolveHook, makeHook},
	chaos.Fragments:  {resolveHook, makeHook},
	chaos.Goroutines: {resolveHook, makeHook},
	chaos.Stacks:     {resolveHook, makeHook},
	chaos.Finalizers: {resolveHook, makeHook},
	chaos.OffHeap:    {resolveHook, makeHook},
	chaos.ForcedGC:   {resolveHook, makeHook},
}

// reverts undo the steps of each kind.
var reverts = map[string]func(context.Context, Step) error{
	StepFile:    revertFile,
	StepProcess: revertProcess,
	StepStopped: revertStopped,
	StepRemove:  revertRemove,

	StepSoftLimit: revertSoft,
	StepHook:      revertHook,
}
