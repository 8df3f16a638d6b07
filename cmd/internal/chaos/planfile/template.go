package planfile

import (
	"embed"
	"slices"
)

//go:embed template/*.yaml
var templates embed.FS

// Kinds are the kinds of targets that there are templates for.
func Kinds() []string { return []string{"command", "source", "pid", "container"} }

// Template is a commented plan to start from, for a kind of target; nil for a kind
// that is not known.
func Template(kind string) []byte {
	if !slices.Contains(Kinds(), kind) {
		return nil
	}
	var out []byte
	for _, part := range []string{"head", kind, "rest"} {
		text, err := templates.ReadFile("template/" + part + ".yaml")
		if err != nil {
			panic(err) // it is in the binary, or the tests fail
		}
		out = append(out, text...)
	}
	return out
}
