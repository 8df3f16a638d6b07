package debugz

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
)

// download sends a file of the guard's evidence. Both names are compared with what
// the guard has captured, so that no other file can be asked for.
func (h *handler) download(w http.ResponseWriter, r *http.Request, bundle, file string) {
	if !h.o.AllowEvidence || h.guard == nil {
		refuse(w, &refusal{http.StatusForbidden, "evidence is not given out; Options.AllowEvidence, with a Guard, allows it"})
		return
	}
	for _, b := range h.guard.Status().Evidence {
		if b.Path == "" || filepath.Base(b.Path) != bundle || !slices.Contains(b.Files, file) || file != filepath.Base(file) {
			continue
		}
		f, err := os.Open(filepath.Join(b.Path, file))
		if errors.Is(err, fs.ErrNotExist) {
			break // older bundles are removed
		}
		if err != nil {
			h.o.Logger.Warn("evidence could not be opened", "error", err)
			refuse(w, &refusal{http.StatusInternalServerError, "the file cannot be opened; the log says why"})
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", `attachment; filename="`+safeName(bundle)+"-"+safeName(file)+`"`)
		http.ServeContent(w, r, "", b.Time, f)
		return
	}
	refuse(w, &refusal{http.StatusNotFound, "there is no such evidence, or not any more"})
}

// safeName leaves of a name what is safe in a header.
func safeName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' {
			continue
		}
		b[i] = '_'
	}
	return string(b)
}
