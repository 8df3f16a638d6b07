package web

import (
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// A refusal is why a request is not answered.
type refusal struct {
	status int
	reason string
	hint   string        // what to do
	wait   time.Duration // before trying again; 0 is not said
}

func refusef(status int, hint, format string, args ...any) *refusal {
	return &refusal{status: status, reason: fmt.Sprintf(format, args...), hint: hint}
}

// forwarded are headers that proxies add. A request with one of them may come from
// anywhere, whatever its RemoteAddr says.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via", "Cf-Connecting-Ip", "True-Client-Ip"}

// proxied names the header that says that a request came through a proxy, or "".
func proxied(h http.Header) string {
	for _, name := range forwarded {
		if h[name] != nil {
			return name
		}
	}
	return ""
}

// names are what requests may be for.
type names struct {
	local bool // only this machine reaches the address
	known []string
	cert  func() *x509.Certificate // the server's own, nil for none
}

// allow reports whether the Host of a request is a name that no stranger can make
// point here (DNS rebinding). An address can be rebound by nobody; where others reach
// the server, any address may be one of its own.
func (n *names) allow(host string) bool {
	name := hostName(host)
	if a, err := netip.ParseAddr(name); err == nil {
		return !n.local || a.Unmap().IsLoopback()
	}
	// RFC 6761: localhost and what is below it never leave the machine.
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if name == "" || len(name) > 253 {
		return false
	}
	for _, k := range n.known {
		if name == k {
			return true
		}
	}
	// A stranger's name fails in the TLS handshake, unless the certificate has it.
	if c := n.cert(); c != nil {
		return c.VerifyHostname(name) == nil
	}
	return false
}

// hostName is a Host without its port, in lower case.
func hostName(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), "."))
}

// safe reports whether a method changes nothing.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sameSite refuses requests that a page of another site makes. Browsers say in
// Sec-Fetch-Site who asks; the ones that do not say send Origin with all that is not
// GET. Following a link to a page is not refused: what it shows is asked for by the page.
func sameSite(r *http.Request, origins []string, page bool) *refusal {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" && site != "none" {
		follows := page && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
			r.Header.Get("Sec-Fetch-Dest") == "document"
		if !follows {
			return refusef(http.StatusForbidden, "open Heapwright's own page", "the request was made by a page of another site")
		}
	}
	// "null" is what a page without an origin sends, a sandboxed frame for one; and a form of
	// our own, since pages here send no referrer: then Sec-Fetch-Site says whose it is.
	o := r.Header.Get("Origin")
	if o == "null" && site == "same-origin" {
		return nil
	}
	if o != "" && !originAllowed(o, r, origins) {
		return refusef(http.StatusForbidden, "open Heapwright's own page; behind a proxy, set the external URL", "the request was made by a page of another origin")
	}
	return nil
}

// originAllowed reports whether an Origin is this server, by the name that the request
// is for, or one of the others that it has.
func originAllowed(origin string, r *http.Request, origins []string) bool {
	for _, o := range origins {
		if strings.EqualFold(origin, o) {
			return true
		}
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}

// tokenHolds reports whether an unsafe request brings the token that its visitor must
// bring. A page of another site cannot read it, nor send such a header without asking
// first.
func tokenHolds(r *http.Request, v *visitor) bool {
	if v.csrf == "" {
		return v.bearer
	}
	return subtle.ConstantTimeCompare([]byte(r.Header.Get(CSRFHeader)), []byte(v.csrf)) == 1
}

// setHeaders sets what every answer has.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
}

// policy lets pages load from this server only, and run and style nothing that is
// written into them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
