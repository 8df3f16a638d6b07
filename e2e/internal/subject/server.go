package subject

// Servers are the real servers.
func Servers() []Subject { return nil }
