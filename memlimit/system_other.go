//go:build !linux

package memlimit

import "errors"

func hostMemory() uint64 { return 0 }

func ownMemory() (uint64, error) {
	return 0, errors.New("measuring the memory of the process: only Linux tells it without asking for more than the standard library has")
}
