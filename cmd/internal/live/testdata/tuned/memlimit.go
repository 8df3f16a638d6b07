//go:build once || refresh

package main

import "github.com/KimMachineGun/automemlimit/memlimit"

func tune() { memlimit.Set(every) }
