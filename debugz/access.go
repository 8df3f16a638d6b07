package debugz

import (
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A refusal is why a request is not answered.
type refusal struct {
	status int
	text   string // what is wrong, and what to do
}

func (r *refusal) Error() string { return r.text }

// forwarded are headers that proxies add. A request with one of them may come from
// anywhere, whatever its RemoteAddr says.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via", "Cf-Connecting-Ip", "True-Client-Ip"}

// admit says who may look. A browser on this machine is a way in for every page that
// it shows, so it is not enough that the connection is local: the Host must be a name
// that no stranger can make point here (DNS rebinding).
func admit(r *http.Request, remote bool, hosts []string) *refusal {
	if !remote {
		if !fromHere(r) {
			return &refusal{http.StatusForbidden, "only requests from this machine are answered; Options.AllowRemote opens the page to others"}
		}
		for _, h := range forwarded {
			if r.Header[h] != nil {
				return &refusal{http.StatusForbidden, "the request came through a proxy (" + h + "), so from where is not known; Options.AllowRemote opens the page to others"}
			}
		}
	}
	if !hostAllowed(r.Host, remote, hosts) {
		return &refusal{http.StatusForbidden, "the Host of the request is not a name of this machine; Options.Hosts lists others"}
	}
	return nil
}

// fromHere reports whether the other end of the connection is on this machine.
func fromHere(r *http.Request) bool {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return true
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// hostAllowed reports whether the Host header is an address or a name that is known.
// An address can be rebound by nobody; from outside any of them may be ours.
func hostAllowed(host string, remote bool, hosts []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), "."))
	if a, err := netip.ParseAddr(name); err == nil {
		return remote || a.Unmap().IsLoopback()
	}
	// RFC 6761: localhost and what is below it never leave the machine.
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	for _, h := range hosts {
		if name != "" && strings.EqualFold(name, strings.TrimSuffix(h, ".")) {
			return true
		}
	}
	return false
}

// admitChange says which requests that change something are let through, of those
// that may look. A form or an image of a foreign page can send neither this content
// type nor DELETE without asking first, and is never told yes.
func admitChange(r *http.Request) *refusal {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return &refusal{http.StatusForbidden, "the request was made by a page of another site"}
	}
	if o := r.Header.Get("Origin"); o != "" {
		if u, err := url.Parse(o); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return &refusal{http.StatusForbidden, "the request was made by a page of another origin"}
		}
	}
	if r.Method == http.MethodPost {
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
			return &refusal{http.StatusUnsupportedMediaType, "the body must be application/json, and be said to be"}
		}
	}
	return nil
}
