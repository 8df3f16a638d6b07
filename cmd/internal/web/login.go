package web

import (
	"bytes"
	"crypto/subtle"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed login
var loginFiles embed.FS

var loginPage = template.Must(template.ParseFS(loginFiles, "login/login.html"))

const (
	// loginAge is how long the form may lie open.
	loginAge = time.Hour
	// maxForm bounds what the form may send.
	maxForm = 8 << 10
)

// login shows the form, and takes it. The form holds what only the browser that asked
// for it can send back: a page of another site cannot log anybody in.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if !s.tokens() {
		s.refuse(w, r, refusef(http.StatusNotFound, "open /ui/", "nobody logs in here: there are no tokens"))
		return
	}
	if r.Method != http.MethodPost {
		s.showLogin(w, r, http.StatusOK, "", r.URL.Query().Get("next"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.showLogin(w, r, http.StatusBadRequest, "The form could not be read.", "")
		return
	}
	next := r.PostForm.Get("next")
	c, err := r.Cookie(s.cookieName() + "-form")
	if err != nil || subtle.ConstantTimeCompare([]byte(sign(s.key, "login", c.Value)), []byte(r.PostForm.Get("form"))) != 1 {
		s.showLogin(w, r, http.StatusForbidden, "The form was open for too long, or the browser takes no cookies. Try again.", next)
		return
	}
	role, t, no := s.checkToken(r, strings.TrimSpace(r.PostForm.Get("token")))
	if no != nil {
		no.retryAfter(w.Header())
		s.showLogin(w, r, no.status, strings.ToUpper(no.reason[:1])+no.reason[1:]+": "+no.hint+".", next)
		return
	}
	// Whoever was logged in with this browser is not any longer.
	if old, err := r.Cookie(s.cookieName()); err == nil {
		s.sessions.end(old.Value)
	}
	s.note(r, entry{Who: "token " + t.name, Role: role.String(), Action: "login", Outcome: "ok"}, true)
	s.setCookie(w, s.cookieName()+"-form", "", -time.Second)
	s.setCookie(w, s.cookieName(), s.sessions.begin(role, t.hash), sessionAge)
	http.Redirect(w, r, local(next), http.StatusSeeOther)
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, problem, next string) {
	nonce := secret()
	if c, err := r.Cookie(s.cookieName() + "-form"); err == nil && len(c.Value) == len(nonce) {
		nonce = c.Value // a form in another tab stays good
	}
	var b bytes.Buffer
	err := loginPage.Execute(&b, struct {
		Problem, Next, Form string
		Changes             bool
	}{problem, local(next), sign(s.key, "login", nonce), s.o.AllowChanges})
	if err != nil {
		s.refuse(w, r, refusef(http.StatusInternalServerError, "", "showing the login page: %v", err))
		return
	}
	s.setCookie(w, s.cookieName()+"-form", nonce, loginAge)
	// Without a referrer the form would come with the Origin null, from browsers that say
	// nothing else of where it comes from.
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// logout ends the session that the request comes with.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(s.cookieName()); err == nil {
		s.sessions.end(c.Value)
		v := visitorOf(r.Context())
		s.note(r, entry{Who: v.name, Role: v.role.String(), Action: "logout", Outcome: "ok"}, true)
	}
	s.setCookie(w, s.cookieName(), "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
}

// local is a place on this server to go on to; what leads elsewhere leads to the UI.
func local(next string) string {
	const home = "/ui/"
	u, err := url.Parse(next)
	if err != nil || len(next) > 2<<10 || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(u.Path, "/ui/") || strings.ContainsAny(next, "\\\r\n\t") || strings.Contains(u.Path, "//") {
		return home
	}
	return u.String()
}
