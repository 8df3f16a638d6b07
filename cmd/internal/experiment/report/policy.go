package report

import (
	"crypto/sha256"
	"encoding/base64"
)

// policy is what a browser lets the page do: run its own script, known by its
// hash, and nothing else. Whatever a result smuggled in could not run, nor
// could it reach anything.
func policy(script []byte) string {
	sum := sha256.Sum256(script)
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// Policy is what the page that [HTML] writes lets a browser do, for a server to say it
// too. It is the empty policy, which allows nothing, where the page cannot be made.
func Policy() string {
	script, err := pageFiles.ReadFile("page/page.js")
	if err != nil {
		return "default-src 'none'"
	}
	return policy(script)
}
