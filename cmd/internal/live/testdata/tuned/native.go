//go:build native

package main

import "runtime/debug"

func tune() { debug.SetGCPercent(100) }
