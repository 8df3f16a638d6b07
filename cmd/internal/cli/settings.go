package cli

import (
	"math"

	"github.com/heapwright/heapwright/cmd/internal/setting"
	"github.com/heapwright/heapwright/pacer"
)

// What people write for settings.
const maxSettings = setting.MaxSettings

var (
	parseGOGC           = setting.ParseGOGC
	parseSize           = setting.ParseSize
	parseMemoryLimit    = setting.ParseMemoryLimit
	parseContainerLimit = setting.ParseContainerLimit
	parseShare          = setting.ParseShare
	sizeText            = setting.SizeText
	limitText           = setting.LimitText
)

// settingsText says how a process is set, for running text.
func settingsText(s pacer.Settings) string {
	text := "GOGC " + gogcText(s.GOGCPercent) + ", GOMEMLIMIT " + memlimitText(s.GOMEMLIMITBytes)
	if s.ContainerLimitBytes > 0 {
		text += ", container limit " + compactBytes(float64(s.ContainerLimitBytes))
	}
	return text
}

// settingsLabel names settings in a plot.
func settingsLabel(s pacer.Settings) string {
	switch {
	case s.GOMEMLIMITBytes == math.MaxInt64:
		return "GOGC " + gogcText(s.GOGCPercent)
	case s.GOGCPercent < 0:
		return "off, " + compactBytes(float64(s.GOMEMLIMITBytes))
	}
	return "GOGC " + gogcText(s.GOGCPercent) + ", " + compactBytes(float64(s.GOMEMLIMITBytes))
}
