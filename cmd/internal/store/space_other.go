//go:build !linux && !darwin

package store

import "io/fs"

func freeSpace(string) (int64, bool) { return 0, false }

func isFull(error) bool { return false }

func onDisk(info fs.FileInfo) int64 { return info.Size() }
