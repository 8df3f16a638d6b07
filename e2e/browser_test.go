package e2e

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// chromium is the browser of this machine.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no Chromium: apt-get install chromium")
	return ""
}

// A page is a browser's window, with what went wrong in it.
type page struct {
	ctx  context.Context
	host string // of the agent: all requests have to go there

	mu       sync.Mutex
	problems []string
	away     bool // the agent is: requests fail
}

func openBrowser(t *testing.T, base string) *page {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.WindowSize(1280, 900),
		// Nothing of the browser's own may ask the network either.
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{ctx: ctx, host: u.Host}
	chromedp.ListenTarget(ctx, p.heard)
	if err := chromedp.Run(ctx, network.Enable(), log.Enable()); err != nil {
		t.Fatal(err)
	}
	return p
}

// heard notes exceptions, violations of the content security policy, errors, and
// requests to anybody else.
func (p *page) heard(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *cdpruntime.EventExceptionThrown:
		p.problems = append(p.problems, "exception: "+ev.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		// That there is too little to go by for a forecast yet is an answer, 422.
		if ev.Entry.Level == log.LevelError && !p.away && !strings.Contains(ev.Entry.Text, "422") {
			p.problems = append(p.problems, fmt.Sprintf("%s: %s %s", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(ev.Request.URL); err == nil && u.Host != p.host && u.Scheme != "data" && u.Scheme != "blob" && u.Scheme != "chrome" {
			p.problems = append(p.problems, "a request leaves for "+ev.Request.URL)
		}
	}
}

// clean fails the test when something went wrong in the page.
func (p *page) clean(t *testing.T, where string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.problems {
		t.Errorf("%s: %s", where, s)
	}
	p.problems = nil
}

func (p *page) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// js is what an expression is in the page.
func js[T any](t *testing.T, p *page, expression string) (v T) {
	t.Helper()
	p.run(t, chromedp.Evaluate(expression, &v))
	return v
}

// sees waits until an expression is true in the page.
func (p *page) sees(t *testing.T, what, expression string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if js[bool](t, p, "!!("+expression+")") {
			return
		}
		if time.Now().After(end) {
			if dir := os.Getenv("HEAPWRIGHT_E2E_SCREENSHOTS"); dir != "" {
				p.shot(t, filepath.Join(dir, "failed.png"))
			}
			t.Fatalf("%s: %s has %.2000s", what, js[string](t, p, "location.href"), js[string](t, p, "document.body.innerText"))
		}
	}
}

// press presses the first button of a name, once there is one.
func (p *page) press(t *testing.T, name string) {
	t.Helper()
	button := fmt.Sprintf(`[...document.querySelectorAll("main button")].find((b) => b.textContent === %q)`, name)
	p.sees(t, "a button "+name, button)
	p.run(t, chromedp.Evaluate(button+".click()", nil))
}

// shot keeps a picture of the page.
func (p *page) shot(t *testing.T, file string) {
	t.Helper()
	var png []byte
	p.run(t, chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(file, png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// drag presses the mouse at the first point and lets go at the second, in shares of an
// element's box.
func (p *page) drag(t *testing.T, selector string, x0, x1, y float64) {
	t.Helper()
	var box []float64
	p.run(t, chromedp.Evaluate(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()`, selector), &box))
	at := func(x float64) (float64, float64) { return box[0] + x*box[2], box[1] + y*box[3] }
	fx, fy := at(x0)
	tx, ty := at(x1)
	mouse := func(kind input.MouseType, x, y float64) chromedp.Action {
		return input.DispatchMouseEvent(kind, x, y).WithButton(input.Left).WithButtons(1).WithClickCount(1)
	}
	p.run(t, input.DispatchMouseEvent(input.MouseMoved, fx, fy), mouse(input.MousePressed, fx, fy), mouse(input.MouseMoved, (fx+tx)/2, ty), mouse(input.MouseMoved, tx, ty),
		mouse(input.MouseReleased, tx, ty))
}

// TestBrowser walks through the pages of a real agent, that watches a real server and
// a program that leaks, in a real browser: loads, filters, zooms, drills down, compares,
// in both themes and on a narrow screen, while processes die and the agent is restarted.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium(t)
	inst := startServerAs(t, servers.NATS, "nats-page")
	stop := underLoad(t, inst, inst.ModerateLoad())
	defer stop()
	leak := harness.Start{Path: named(t, "goroutines", "leaky-page")}.Start(t)
	// The agent is to be found at the same address after a restart.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := serveFile(t, t.TempDir(), "discovery: {interval: 1s, min_uptime: 0s, include: [nats-page, leaky-page]}",
		"diagnose: {interval: 5s}", "snapshots: {interval: 10s}")
	start := func() *agent {
		cmd := exec.Command(product.Binary, "serve", "--config", config, "--listen", addr)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return startCommand(t, cmd)
	}
	a := start()
	until(t, "the server is watched", func() bool { return a.named(t, inst.PID) != "" })
	nats := a.named(t, inst.PID)
	var open struct{ Episodes []struct{ ID string } }
	until(t, "the leak is found, and there is a past", func() bool {
		a.get(t, &open, "findings", "process", "leaky-page", "open", "1")
		var s struct{ Snapshots []struct{ Key string } }
		a.get(t, &s, "snapshots", "process", "leaky-page")
		return len(open.Episodes) > 0 && len(s.Snapshots) >= 2
	})
	shots := os.Getenv("HEAPWRIGHT_E2E_SCREENSHOTS")
	p := openBrowser(t, a.url)
	look := func(name string) {
		if shots != "" {
			p.shot(t, filepath.Join(shots, name+".png"))
		}
		p.clean(t, name)
	}
	visit := func(path string) { p.run(t, chromedp.Navigate(a.url+path)) }

	// The fleet, the most troubled first; a filter; into one.
	visit("/ui/")
	const names = `[...document.querySelectorAll("a.name")].map((a) => a.textContent).join(" ")`
	has := names + fmt.Sprintf(`.split(" ").includes(%q)`, nats)
	p.sees(t, "the fleet", names+`.split(" ")[0] === "leaky-page" && `+has)
	look("fleet")
	p.run(t, chromedp.SendKeys("input.filter", "leaky", chromedp.ByQuery))
	p.sees(t, "a filter", names+` === "leaky-page" && location.search === "?q=leaky"`)
	p.run(t, chromedp.Click(`a.name`, chromedp.ByQuery))
	p.sees(t, "the process", `location.pathname === "/ui/process/leaky-page" && document.querySelectorAll("canvas").length >= 6`)
	p.sees(t, "memory explained", `/resident/.test(document.body.innerText)`)
	look("process")

	visit("/ui/process/" + nats)
	p.sees(t, "the server", `document.querySelectorAll("canvas").length >= 6`)

	// Zoom by the mouse, and back by the browser.
	before := js[string](t, p, "location.href")
	p.drag(t, ".time .u-over", 0.4, 0.8, 0.5)
	p.sees(t, "a zoom in the address", `new URLSearchParams(location.search).has("from") && new URLSearchParams(location.search).has("to")`)
	look("zoomed")
	p.run(t, chromedp.NavigateBack())
	p.sees(t, "the way back", fmt.Sprintf(`location.href === %q`, before))

	// A chart as a table, and what it is.
	p.press(t, "Table")
	p.sees(t, "the table of a chart", `document.querySelectorAll("table tbody tr").length > 3`)
	look("table")

	// A cycle, by its address.
	var cycles struct {
		Cycles []struct {
			N   uint64
			End string
		}
	}
	until(t, "there is a cycle", func() bool {
		a.get(t, &cycles, "cycles", "process", nats, "from", "now-10m", "to", "now")
		return len(cycles.Cycles) > 0
	})
	c := cycles.Cycles[len(cycles.Cycles)-1]
	visit(fmt.Sprintf("/ui/process/%s/cycle?n=%d&end=%s", nats, c.N, url.QueryEscape(c.End)))
	p.sees(t, "a cycle", fmt.Sprintf(`document.querySelector(".cyclefacts") && document.body.innerText.includes("%d")`, c.N))
	look("cycle")

	// Findings, with what to do.
	visit("/ui/process/leaky-page/findings")
	p.sees(t, "a finding with its remedy", fmt.Sprintf(`document.querySelector("article.finding .remedy") && document.body.innerText.includes(%q)`, open.Episodes[0].ID))
	look("findings")

	// Profiles: a tree of goroutines, and the difference of two moments.
	visit("/ui/process/leaky-page/profiles?type=goroutines")
	p.sees(t, "goroutines", `document.querySelector(".profiles") && /goroutine/i.test(document.body.innerText) && !document.querySelector(".state.failure")`)
	visit("/ui/process/leaky-page/profiles")
	p.sees(t, "a flame graph", `document.querySelector(".profiles canvas")`)
	look("profile")
	p.press(t, "The one before")
	p.sees(t, "a difference", `new URLSearchParams(location.search).has("base") && document.querySelector(".profiles canvas")`)
	look("difference")

	// What if, experiments, alerts, the agent itself.
	visit("/ui/process/" + nats + "/whatif")
	p.sees(t, "what if, or why not", `document.querySelector("input[type=range]") || document.querySelector(".state")`)
	look("whatif")
	for _, view := range []string{"experiments", "alerts", "agent"} {
		visit("/ui/" + view)
		p.sees(t, view, `document.querySelector("main") && document.querySelector("main").innerText.length > 40 && !document.querySelector(".state.loading")`)
		look(view)
	}

	// Dark, and narrow: nothing is wider than the screen.
	p.run(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	visit("/ui/process/" + nats)
	p.sees(t, "the dark", `document.documentElement.dataset.theme === "dark" && document.querySelectorAll("canvas").length >= 6`)
	dark := js[string](t, p, `getComputedStyle(document.body).backgroundColor`)
	look("dark")
	p.run(t, emulation.SetDeviceMetricsOverride(390, 844, 2, true))
	for _, path := range []string{"/ui/", "/ui/process/" + nats, "/ui/process/leaky-page/findings", "/ui/process/leaky-page/profiles", "/ui/process/" + nats + "/whatif", "/ui/alerts", "/ui/agent"} {
		visit(path)
		p.sees(t, path, `document.querySelector("main") && !document.querySelector(".state.loading")`)
		time.Sleep(300 * time.Millisecond) // for what is drawn after the first picture
		if w := js[float64](t, p, `document.documentElement.scrollWidth`); w > 390 {
			t.Errorf("%s is %.0f wide on a screen of 390", path, w)
		}
		look("narrow" + strings.NewReplacer("/ui/", "-", "/", "-").Replace(path))
	}
	p.run(t, emulation.ClearDeviceMetricsOverride(), emulation.SetEmulatedMedia())
	visit("/ui/")
	p.sees(t, "the light", fmt.Sprintf(`document.documentElement.dataset.theme === "light" && getComputedStyle(document.body).backgroundColor !== %q`, dark))

	// The agent goes away and comes back: the page says so, and goes on.
	visit("/ui/")
	p.sees(t, "the fleet again", has)
	p.mu.Lock()
	p.away = true
	p.mu.Unlock()
	a.kill()
	p.sees(t, "that the agent is away", `document.querySelector("[role=status], [role=alert]") && /(lost|stale|not answer|no answer|unreachable|connection|away|again)/i.test(document.body.innerText)`)
	look("away")
	a = start()
	p.sees(t, "that it is back", `!document.querySelector("main [role=alert]") && !document.querySelector(".stale") && `+has)
	p.mu.Lock()
	p.away, p.problems = false, nil
	p.mu.Unlock()

	// A process dies while it is watched.
	visit("/ui/process/leaky-page")
	p.sees(t, "a process that is up", `/\bup\b/.test(document.body.innerText)`)
	leak.Kill(t)
	p.sees(t, "that it has ended", `/\bended\b/i.test(document.body.innerText)`)
	look("ended")
}
