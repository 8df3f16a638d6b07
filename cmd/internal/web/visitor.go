package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// identify says who makes a request. A refusal is for one who brought what is not
// right; who brings nothing is a visitor without a role, or a reader on loopback.
func (s *Server) identify(r *http.Request) (*visitor, *refusal) {
	if given, ok := bearer(r.Header.Get("Authorization")); ok && s.tokens() {
		return s.byToken(r, given)
	}
	best := s.nobody(r)
	if v := s.byCookie(r); v != nil && v.role >= best.role {
		best = v
	}
	v, no := s.byCertificate(r)
	if no != nil && best.role == None {
		return nil, no
	}
	if v != nil && v.role > best.role {
		best = v
	}
	return best, nil
}

// tokens reports whether there are tokens at all.
func (s *Server) tokens() bool { return s.readers != nil || s.operators != nil }

// tokenOf finds a token by its hash, and whose it is.
func (s *Server) tokenOf(h [sha256.Size]byte) (Role, *token) {
	// Both are always searched, and take the same time whatever they find.
	var o, r *token
	if s.operators != nil {
		o = s.operators.byHash(h)
	}
	if s.readers != nil {
		r = s.readers.byHash(h)
	}
	switch {
	case o != nil:
		return Operator, o
	case r != nil:
		return Reader, r
	}
	return None, nil
}

// checkToken finds what is presented, and counts the failures of an address.
func (s *Server) checkToken(r *http.Request, given string) (Role, *token, *refusal) {
	from := s.from(r)
	if wait := s.failures.wait(from); wait > 0 {
		s.stats.limited.Add(1)
		return None, nil, &refusal{http.StatusTooManyRequests, "too many wrong tokens came from this address", "wait " + seconds(wait) + " s", wait}
	}
	if len(given) <= maxBearer {
		if role, t := s.tokenOf(sha256.Sum256([]byte(given))); t != nil {
			return role, t, nil
		}
	}
	s.failures.failed(from)
	s.stats.denied.Add(1)
	s.note(r, entry{Who: "nobody", Role: None.String(), Action: "token", Outcome: "it is wrong"}, true)
	return None, nil, refusef(http.StatusUnauthorized, "use one of the token file", "the token is not one of those that are known here")
}

func (s *Server) byToken(r *http.Request, given string) (*visitor, *refusal) {
	role, t, no := s.checkToken(r, given)
	if no != nil {
		return nil, no
	}
	hash := t.hash
	return &visitor{role: role, name: "token " + t.name, bearer: true, still: func() bool {
		now, _ := s.tokenOf(hash)
		return now >= role
	}}, nil
}

func (s *Server) byCookie(r *http.Request) *visitor {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return nil
	}
	return s.bySession(c.Value)
}

// bySession is who has a session whose token still is one.
func (s *Server) bySession(cookie string) *visitor {
	v, ok := s.sessions.use(cookie)
	if !ok {
		return nil
	}
	now, t := s.tokenOf(v.token)
	if t == nil {
		return nil
	}
	role := min(now, v.role)
	return &visitor{role: role, name: "session of token " + t.name, csrf: sign(s.key, "csrf", "session "+cookie), still: func() bool {
		held, ok := s.sessions.peek(cookie)
		if !ok {
			return false
		}
		now, t := s.tokenOf(held.token)
		return t != nil && now >= role
	}}
}

func (s *Server) byCertificate(r *http.Request) (*visitor, *refusal) {
	cert, err := s.keys.client(r.TLS)
	if err != nil {
		return nil, refusef(http.StatusUnauthorized, "use a certificate of an authority that is known here, or a token", "%v", err)
	}
	if cert == nil {
		return nil, nil
	}
	role, err := s.o.TLS.roleOf(cert)
	if err != nil {
		return nil, refusef(http.StatusForbidden, "have its name added to the readers or operators", "%v", err)
	}
	state := r.TLS
	return &visitor{role: role, name: fmt.Sprintf("certificate %.100q", cert.Subject.CommonName), csrf: sign(s.key, "csrf", "certificate "+fingerprint(cert)),
		still: func() bool {
			c, err := s.keys.client(state)
			return err == nil && c != nil
		}}, nil
}

// nobody is who brings nothing: on loopback without a token for readers, somebody of
// this machine. A proxy on this machine brings others.
func (s *Server) nobody(r *http.Request) *visitor {
	v := &visitor{name: "nobody", still: func() bool { return true }}
	if !s.local || s.readers != nil || s.o.TLS.ClientCAFile != "" || !peer(r.RemoteAddr).IsLoopback() {
		return v
	}
	if s.o.ExternalURL == "" && proxied(r.Header) != "" {
		return v
	}
	v.role, v.name, v.csrf = Reader, "local", sign(s.key, "csrf", "local")
	if s.o.LoopbackOperator && s.o.AllowChanges && proxied(r.Header) == "" {
		v.role = Operator
	}
	return v
}

// denied is what one without a role is told.
func (s *Server) denied(r *http.Request) *refusal {
	if h := proxied(r.Header); s.local && !s.tokens() && s.o.TLS.ClientCAFile == "" && h != "" {
		return refusef(http.StatusForbidden, "set the external URL, or a token file", "the request came through a proxy (%s), so from where is not known", h)
	}
	hint := "bring a token, as `Authorization: Bearer TOKEN`, or log in at /login"
	if !s.tokens() {
		hint = "bring a client certificate"
	}
	return refusef(http.StatusUnauthorized, hint, "it is not known who asks")
}

// from is the address that a request came from. Behind a proxy of ours it is what the
// proxy, which is the last one, says.
func (s *Server) from(r *http.Request) netip.Addr {
	a := peer(r.RemoteAddr)
	if s.o.ExternalURL == "" || !a.IsLoopback() {
		return a
	}
	all := r.Header["X-Forwarded-For"]
	if len(all) == 0 {
		return a
	}
	last := all[len(all)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	if f, err := netip.ParseAddr(last); err == nil {
		return f.Unmap().WithZone("")
	}
	return a
}

// cookieName says to browsers, where there is TLS, that no other name or path of this
// host may have set it. Ports share cookies: without TLS the name has the port.
func (s *Server) cookieName() string {
	if s.secure() {
		return "__Host-heapwright"
	}
	return "heapwright-" + s.port
}

// secure reports whether browsers come by TLS.
func (s *Server) secure() bool {
	return s.keys != nil || strings.HasPrefix(s.o.ExternalURL, "https:")
}

func (s *Server) setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(age / time.Second), HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteStrictMode})
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(math.Ceil(d.Seconds()), 'f', 0, 64)
}

// requestID joins the lines of one request in the audit log.
func requestID() string {
	h := sha256.Sum256([]byte(secret()))
	return hex.EncodeToString(h[:6])
}
