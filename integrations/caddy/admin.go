package heapwrightcaddy

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/heapwright/heapwright/debugz"
	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/memlimit"
)

const debugPath = "/debug/heapwright/"

// admin serves the page of package debugz from Caddy's admin API. It shows, and
// changes nothing.
type admin struct{}

// CaddyModule returns the Caddy module information.
func (admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.heapwright", New: func() caddy.Module { return new(admin) }}
}

// Routes is caddy.AdminRouter.
func (admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: debugPath, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		theDebug.handler(theKeeper.parts()).ServeHTTP(w, r)
		return nil
	})}}
}

// debug has the page for the parts that it was last asked for: it keeps a short
// history of them.
type debug struct {
	mu    sync.Mutex
	page  http.Handler
	guard *guard.Guard
	limit *memlimit.Limit
}

var theDebug = &debug{}

func (d *debug) handler(g *guard.Guard, l *memlimit.Limit) http.Handler {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.page == nil || d.guard != g || d.limit != l {
		d.page = debugz.Handler(debugz.Options{Guard: g, Limit: l, Logger: logger})
		d.guard, d.limit = g, l
	}
	return d.page
}

// Interface guards
var _ caddy.AdminRouter = admin{}
