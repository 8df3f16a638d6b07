// Package ui holds the web pages of the agent, as they were bundled from src:
// an HTML page, a script and a style sheet, with nothing to load from elsewhere.
//
// It serves nothing and knows no data: the pages ask the HTTP API for what they
// show, and the address holds all that was chosen. `npm ci && npm run build` in
// this directory makes dist again, byte for byte; `npm run check` and `npm test`
// look at src; `npm run mock` serves dist with made-up data, for work on the pages.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// FS returns the files: index.html, app.js, app.css and LICENSES.txt. index.html
// is the page of every address under /ui/.
func FS() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // only for an invalid name
	}
	return sub
}
