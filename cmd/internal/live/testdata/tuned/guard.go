//go:build guard

package main

import "github.com/heapwright/heapwright/guard"

func tune() { guard.Watch() }
