package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestLogin is somebody with a browser before an agent that asks for a token: they are
// let in with the right one only, see the pages, and are out when the token is.
func TestLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	const token = "browser-0123456789abcdef"
	if err := os.WriteFile(tokens, []byte("somebody "+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, serveFile(t, dir, "discovery: {include: [nothing-of-this-name]}", "access: {reader_token_file: "+tokens+"}"))
	p := openBrowser(t, a.url)
	p.run(t, chromedp.Navigate(a.url+"/login?next=%2Fui%2Fagent%3Fx%3D1"))
	p.sees(t, "the form", `document.activeElement.id === "token"`)
	if shots := os.Getenv("HEAPWRIGHT_E2E_SCREENSHOTS"); shots != "" {
		p.shot(t, filepath.Join(shots, "login.png"))
		p.run(t, chromedp.EmulateViewport(390, 800), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
		p.shot(t, filepath.Join(shots, "login-dark-narrow.png"))
	}
	p.clean(t, "the form")
	// A wrong token is a failed request, which the browser says too.
	p.run(t, chromedp.SendKeys("#token", "not-the-token-of-anybody\r"))
	p.sees(t, "what is wrong", `document.querySelector("[role=alert]")?.textContent.includes("not one of those")`)
	p.mu.Lock()
	for _, s := range p.problems {
		if !strings.Contains(s, "401") {
			t.Error(s)
		}
	}
	p.problems = nil
	p.mu.Unlock()
	p.run(t, chromedp.SendKeys("#token", token+"\r"))
	p.sees(t, "where they wanted to go", `location.pathname + location.search === "/ui/agent?x=1"`)
	if got := session(t, p); got != "reader" {
		t.Errorf("they are %q", got)
	}
	if got := js[string](t, p, "document.cookie"); got != "" {
		t.Errorf("scripts see the cookie: %s", got)
	}
	p.clean(t, "the page")
	// A link from elsewhere opens the page, and the page asks for itself.
	p.run(t, chromedp.Navigate("data:text/html,<a id=a href='"+a.url+"/ui/'>x</a>"), chromedp.Click("#a"))
	p.sees(t, "the page that is linked", `location.pathname === "/ui/"`)
	if got := session(t, p); got != "reader" {
		t.Errorf("by a link they are %q", got)
	}
	p.clean(t, "by a link")
	if err := os.WriteFile(tokens, []byte("another-0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "they are out", func() bool { return session(t, p) == "" })
}

// session is the role that the page has, "" for none.
func session(t *testing.T, p *page) (role string) {
	t.Helper()
	p.run(t, chromedp.Evaluate(`fetch("/api/heapwright/v1/session").then((r) => r.ok ? r.json() : {role: ""}).then((s) => s.role)`, &role, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return role
}
