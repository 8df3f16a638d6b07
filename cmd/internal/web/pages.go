package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxPages bounds the files of the UI, which are all kept in memory.
const maxPages = 16 << 20

// contentTypes is a table of its own: what the machine thinks of endings is nothing to
// go by.
var contentTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".json":  "application/json",
	".map":   "application/json",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
	".txt":   "text/plain; charset=utf-8",
}

// An asset is a file, ready to be sent.
type asset struct {
	kind         string
	data, zipped []byte // zipped is nil where it saves nothing
	tag          string // without quotes
	forever      bool   // its name has a hash: another content has another name
}

// hashed are names with a hash in them, as bundlers write them.
var hashed = regexp.MustCompile(`[-.]([0-9a-f]{8,64}|[0-9A-Z]{8})\.\w+$`)

func newAsset(name string, data []byte) *asset {
	sum := sha256.Sum256(data)
	a := &asset{kind: contentTypes[path.Ext(name)], data: data, tag: base64.RawURLEncoding.EncodeToString(sum[:12]), forever: hashed.MatchString(name)}
	if a.kind == "" {
		a.kind = "application/octet-stream"
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return a // only a level that there is not
	}
	z.Write(data)
	z.Close()
	if b.Len() < len(data)*9/10 {
		a.zipped = bytes.Clone(b.Bytes())
	}
	return a
}

func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if a.forever {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	data, tag := a.data, `"`+a.tag+`"`
	if a.zipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Values("Accept-Encoding")) {
			data, tag = a.zipped, `"`+a.tag+`-gz"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("ETag", tag)
	if hasTag(r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(data)
	}
}

// takesGzip reads Accept-Encoding. RFC 9110, 12.5.3.
func takesGzip(values []string) bool {
	wanted, others := -1.0, -1.0
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			coding, rest, _ := strings.Cut(strings.TrimSpace(part), ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(rest, " ", "")), "q="); ok {
				var err error
				if weight, err = strconv.ParseFloat(q, 64); err != nil {
					weight = 0
				}
			}
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				wanted = weight
			case "*":
				others = weight
			}
		}
	}
	return wanted > 0 || wanted < 0 && others > 0
}

// hasTag reads If-None-Match, which compares weakly. RFC 9110, 13.1.2.
func hasTag(values []string, tag string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if p := strings.TrimSpace(part); p == "*" || strings.TrimPrefix(p, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// pages are the files of the UI. The addresses that it has below /ui/ are all one page.
type pages struct {
	files map[string]*asset // by path, with the slash
	index *asset
}

func newPages(files fs.FS) (*pages, error) {
	p := &pages{files: map[string]*asset{}}
	size := 0
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxPages+1))
		if err != nil {
			return err
		}
		if size += len(data); size > maxPages {
			return fmt.Errorf("there are more than %d bytes", maxPages)
		}
		p.files["/"+name] = newAsset(name, data)
		return nil
	})
	if err == nil {
		if p.index = p.files["/index.html"]; p.index == nil {
			err = errors.New("there is no index.html")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the files of the web UI: %w", err)
	}
	return p, nil
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" || r.URL.Path == "/ui" {
		http.Redirect(w, r, "/ui/", http.StatusFound)
		return
	}
	if a := p.files[r.URL.Path]; a != nil {
		a.ServeHTTP(w, r)
		return
	}
	// A script or a picture that is not there is not the page.
	dest := r.Header.Get("Sec-Fetch-Dest")
	if strings.HasPrefix(r.URL.Path, "/ui/") && (dest == "" || dest == "document" || dest == "empty") {
		p.index.ServeHTTP(w, r)
		return
	}
	http.Error(w, "heapwright: there is nothing at this address: open /ui/", http.StatusNotFound)
}
