//go:build !linux

package memlimit

func hostMemory() uint64 { return 0 }

func ownMemory() (uint64, error) { return 0, errUnmeasurable }
