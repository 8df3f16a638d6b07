//go:build !unix

package vault

func makePipe(string) bool { return false }
