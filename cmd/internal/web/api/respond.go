package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// An endpoint answers a request with a document.
type endpoint func(r *http.Request) (any, error)

// ServeHTTP implements http.Handler.
func (e endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	doc, err := e(r)
	if err != nil {
		writeError(w, err)
		return
	}
	if f, ok := doc.(*file); ok {
		f.write(w)
		return
	}
	writeJSON(w, http.StatusOK, doc)
}

// writeJSON writes a document. It is made as a whole first, so that one that cannot
// be written is an error and not half a document.
func writeJSON(w http.ResponseWriter, status int, doc any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		writeError(w, failf(http.StatusInternalServerError, "writing the document: %v", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
}

// writeError answers with why there is no document.
func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var e *Error
	if errors.As(err, &e) {
		status = e.Status
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
		}
	}
	doc := ErrorDocument{Schema: schemaError, Error: oneLine(err.Error())}
	if hint := hintOf(err); hint != "" {
		hint = oneLine(hint)
		doc.Hint = &hint
	}
	writeJSON(w, status, doc)
}

// hintOf finds advice in the chain of an error.
func hintOf(err error) string {
	for err != nil {
		if h, ok := err.(interface{ Hint() string }); ok {
			if hint := h.Hint(); hint != "" {
				return hint
			}
		}
		err = errors.Unwrap(err)
	}
	return ""
}

// oneLine makes text that may hold something of a hostile process one safe line.
func oneLine(s string) string {
	const longest = 2000
	if len(s) > longest {
		s = s[:longest] + "..."
	}
	return term.Clean(strings.Join(strings.Fields(s), " "))
}
