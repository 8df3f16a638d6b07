//go:build !linux

package keeper

import "os"

func executable() string {
	exe, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return exe
}

func prefer(int) {}

func spare() {}
