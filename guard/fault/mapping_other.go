//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package fault

const canMap = false

func mapMemory(int) ([]byte, error) { return nil, ErrUnsupported }

func unmapMemory([]byte) error { return ErrUnsupported }
