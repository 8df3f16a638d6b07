package planfile

import (
	"embed"
	"io/fs"
	"slices"
)

//go:embed template/*.yaml
var templates embed.FS

// Kinds are the kinds of subjects that there are templates for.
func Kinds() []string { return []string{"command", "package", "source", "git"} }

// Template is a commented experiment to start from, for a kind of subject; nil for
// a kind that is not known.
func Template(kind string) []byte { return Compose(templates, Kinds(), kind) }

// Compose puts a template together from the files of a directory of that name: its
// head, what is of one of the kinds, and the rest. It is nil for another kind.
func Compose(files fs.FS, kinds []string, kind string) []byte {
	if !slices.Contains(kinds, kind) {
		return nil
	}
	var out []byte
	for _, part := range []string{"head", kind, "rest"} {
		text, err := fs.ReadFile(files, "template/"+part+".yaml")
		if err != nil {
			panic(err) // it is in the binary, or the tests fail
		}
		out = append(out, text...)
	}
	return out
}
