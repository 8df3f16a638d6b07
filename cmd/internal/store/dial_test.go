package store

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRedirect: who sends us on to another server does not get that server our token.
func TestRedirect(t *testing.T) {
	asked := make(chan http.Header, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header }))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	r, err := Dial(first.URL, DialOptions{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Query(t.Context(), "up", time.Now()); err == nil || !strings.Contains(err.Error(), "give the address") {
		t.Errorf("%v", err)
	}
	select {
	case h := <-asked:
		t.Errorf("the other server was asked, with %q", h.Get("Authorization"))
	default:
	}
}
