//go:build !unix

package forward

// syncDir does nothing where directories cannot be synced.
func syncDir(string) error { return nil }
