package planfile

import (
	"embed"

	experimentfile "github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
)

//go:embed template/*.yaml
var templates embed.FS

// Kinds are the kinds of targets that there are templates for.
func Kinds() []string { return []string{"command", "source", "pid", "container"} }

// Template is a commented plan to start from, for a kind of target; nil for a kind
// that is not known.
func Template(kind string) []byte { return experimentfile.Compose(templates, Kinds(), kind) }
