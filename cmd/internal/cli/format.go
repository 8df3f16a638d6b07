package cli

import "github.com/heapwright/heapwright/cmd/internal/human"

// How numbers read in what is printed.
var (
	compactBytes   = human.Bytes
	percent        = human.Percent
	gogcText       = human.GOGC
	goalText       = human.Goal
	memlimitText   = human.Memlimit
	span           = human.Span
	plural         = human.Plural
	shortGoVersion = human.GoVersion
)
