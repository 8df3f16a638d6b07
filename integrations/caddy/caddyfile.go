package heapwrightcaddy

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
)

func registerCaddyfile() {
	httpcaddyfile.RegisterGlobalOption("heapwright", func(d *caddyfile.Dispenser, before any) (any, error) {
		if before != nil {
			d.Next()
			return nil, d.Err("there is one heapwright option; this is the second")
		}
		app := new(App)
		if err := app.UnmarshalCaddyfile(d); err != nil {
			return nil, err
		}
		return httpcaddyfile.App{Name: "heapwright", Value: caddyconfig.JSON(app, nil)}, nil
	})
	httpcaddyfile.RegisterHandlerDirective("heapwright_guard", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterHandlerDirective("heapwright_ready", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Ready)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	// Before whatever costs something, and before what changes the request: classes
	// go by what the client sent. What header adds is on refusals too.
	httpcaddyfile.RegisterDirectiveOrder("heapwright_ready", httpcaddyfile.Before, "request_body")
	httpcaddyfile.RegisterDirectiveOrder("heapwright_guard", httpcaddyfile.Before, "request_body")
}

// UnmarshalCaddyfile reads the global option:
//
//	heapwright {
//		memory_limit [off | <size>] {
//			file     <path>
//			reserve  <size>
//			interval <duration>
//			objective {
//				gc_cpu    <ratio>
//				assist    <ratio>
//				pause_p99 <duration>
//			}
//			gogc    <min> <max>
//			dry_run
//		}
//		guard {
//			objective <signal> <max> {
//				name     <name>
//				interval <duration>
//				window   <duration>
//				ratio    <ratio>
//				cooldown <duration>
//			}
//			no_objectives
//			capacity <size>
//			budget   <ratio> [<duration>]
//			evidence <dir> {
//				per_hour <number>
//				max_size <size>
//				trace
//			}
//			no_limiter
//			dry_run
//		}
//	}
//
// A ratio is a number from 0 to 1, or a percentage; a size is a number of bytes, with
// a unit such as MiB.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for d.NextBlock(0) {
		if err := seen.take(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "memory_limit":
			err = a.MemoryLimit.unmarshalCaddyfile(d)
		case "guard":
			a.Guard = new(Guard)
			err = a.Guard.unmarshalCaddyfile(d)
		default:
			err = unknown(d, "memory_limit", "guard")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *MemoryLimit) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	line := *d // for what is wrong with the whole
	if d.NextArg() {
		if d.Val() == "off" {
			s.Off = true
		} else if err := parseSize(d, &s.Bytes); err != nil {
			return err
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if s.Off {
			return d.Err("a memory limit that is off has no settings")
		}
		if err := seen.take(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "file":
			if !d.AllArgs(&s.File) {
				err = d.ArgErr()
			}
		case "reserve":
			err = oneArg(d, func() error { return parseSize(d, &s.Reserve) })
		case "interval":
			err = oneArg(d, func() error { return parseDuration(d, &s.Interval) })
		case "objective":
			s.Objective = new(MemoryObjective)
			err = s.Objective.unmarshalCaddyfile(d)
		case "gogc":
			var least, most string
			if !d.AllArgs(&least, &most) {
				err = d.ArgErr()
				break
			}
			for _, v := range []struct {
				text string
				to   *int
			}{{least, &s.MinGOGC}, {most, &s.MaxGOGC}} {
				n, parseErr := strconv.Atoi(v.text)
				if parseErr != nil || n < 1 {
					return d.Errf("%q is no percentage of GOGC, such as 50", v.text)
				}
				*v.to = n
			}
		case "dry_run":
			err = setFlag(d, &s.DryRun)
		default:
			err = unknown(d, "file", "reserve", "interval", "objective", "gogc", "dry_run")
		}
		if err != nil {
			return err
		}
	}
	if s.Objective == nil && (s.MinGOGC != 0 || s.MaxGOGC != 0) {
		return line.Err("gogc bounds what an objective chooses: without one GOGC stays as it is")
	}
	return nil
}

func (o *MemoryObjective) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.take(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "gc_cpu":
			err = oneArg(d, func() error { return parseRatio(d, &o.GCCPURatio) })
		case "assist":
			err = oneArg(d, func() error { return parseRatio(d, &o.AssistRatio) })
		case "pause_p99":
			err = oneArg(d, func() error { return parseDuration(d, &o.PauseP99) })
		default:
			err = unknown(d, "gc_cpu", "assist", "pause_p99")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Guard) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	line := *d
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "objective" {
			if err := seen.take(d); err != nil {
				return err
			}
		}
		var err error
		switch d.Val() {
		case "objective":
			s.Objectives = append(s.Objectives, Objective{})
			err = s.Objectives[len(s.Objectives)-1].unmarshalCaddyfile(d)
		case "no_objectives":
			err = setFlag(d, &s.NoObjectives)
		case "capacity":
			var n uint64
			err = oneArg(d, func() error { return parseSize(d, &n) })
			s.Capacity = int64(n)
		case "budget":
			s.Budget = new(Budget)
			err = s.Budget.unmarshalCaddyfile(d)
		case "evidence":
			s.Evidence = new(Evidence)
			err = s.Evidence.unmarshalCaddyfile(d)
		case "no_limiter":
			err = setFlag(d, &s.NoLimiter)
		case "dry_run":
			err = setFlag(d, &s.DryRun)
		default:
			err = unknown(d, "objective", "no_objectives", "capacity", "budget", "evidence", "no_limiter", "dry_run")
		}
		if err != nil {
			return err
		}
	}
	if s.NoObjectives && len(s.Objectives) > 0 {
		return line.Err("there is an objective, and no_objectives")
	}
	return nil
}

func (o *Objective) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	o.Signal = sli.Signal(d.Val())
	if !slices.Contains(sli.Signals(), o.Signal) {
		return d.Errf("there is no signal %q; there are %q", o.Signal, sli.Signals())
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	if err := o.parseMax(d); err != nil {
		return err
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.take(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "name":
			if !d.AllArgs(&o.Name) {
				err = d.ArgErr()
			}
		case "interval":
			err = oneArg(d, func() error { return parseDuration(d, &o.Interval) })
		case "window":
			err = oneArg(d, func() error { return parseDuration(d, &o.Window) })
		case "ratio":
			err = oneArg(d, func() error { return parseRatio(d, &o.Ratio) })
		case "cooldown":
			err = oneArg(d, func() error { return parseDuration(d, &o.Cooldown) })
		default:
			err = unknown(d, "name", "interval", "window", "ratio", "cooldown")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseMax reads a bound in the unit of the signal: a duration, a ratio, or a number.
func (o *Objective) parseMax(d *caddyfile.Dispenser) error {
	switch name := string(o.Signal); {
	case strings.HasSuffix(name, "_seconds"):
		var v caddy.Duration
		err := parseDuration(d, &v)
		o.Max = time.Duration(v).Seconds()
		return err
	case strings.HasSuffix(name, "_ratio"):
		return parseRatio(d, &o.Max)
	}
	v, err := strconv.ParseFloat(d.Val(), 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		return d.Errf("%q is no bound of %s, which is a number", d.Val(), o.Signal)
	}
	o.Max = v
	return nil
}

func (b *Budget) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	if err := parseRatio(d, &b.MaxRatio); err != nil {
		return err
	}
	if b.MaxRatio == 0 {
		return d.Err("a budget of 0 sheds nothing: dry_run is for that")
	}
	if d.NextArg() {
		if err := parseDuration(d, &b.Window); err != nil {
			return err
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func (e *Evidence) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&e.Dir) {
		return d.ArgErr()
	}
	seen := once{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.take(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "per_hour":
			err = oneArg(d, func() error {
				n, err := strconv.Atoi(d.Val())
				if err != nil || n < 1 {
					return d.Errf("%q is no number of bundles an hour", d.Val())
				}
				e.PerHour = n
				return nil
			})
		case "max_size":
			var n uint64
			err = oneArg(d, func() error { return parseSize(d, &n) })
			e.MaxBytes = int64(n)
		case "trace":
			err = setFlag(d, &e.Trace)
		default:
			err = unknown(d, "per_hour", "max_size", "trace")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalCaddyfile reads the directive:
//
//	heapwright_guard [<matcher>] {
//		class <low|normal|high|critical> <path...>
//		class <low|normal|high|critical> {
//			<matcher...>
//		}
//		class       <low|normal|high|critical>
//		health      <path...>
//		retry_after <duration>
//		cost        <size>
//	}
//
// A request has the class of the first line that matches it, and else that of the
// line without matchers.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := once{}
	for d.NextBlock(0) {
		if d.Val() != "class" {
			if err := seen.take(d); err != nil {
				return err
			}
		}
		var err error
		switch d.Val() {
		case "class":
			err = h.unmarshalClass(d, seen)
		case "health":
			if h.Health = d.RemainingArgs(); len(h.Health) == 0 {
				err = d.ArgErr()
			}
			for _, p := range h.Health {
				if !strings.HasPrefix(p, "/") || strings.Contains(p, "*") {
					return d.Errf("a health check is a whole path, such as /healthz; this is %q", p)
				}
			}
		case "retry_after":
			err = oneArg(d, func() error { return parseDuration(d, &h.RetryAfter) })
		case "cost":
			var n uint64
			err = oneArg(d, func() error { return parseSize(d, &n) })
			h.Cost = int64(n)
		case "objective", "capacity", "budget", "evidence":
			err = d.Errf("%s is a setting of the guard, of which there is one: put it into the global options, below heapwright and guard", d.Val())
		default:
			err = unknown(d, "class", "health", "retry_after", "cost")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalClass(d *caddyfile.Dispenser, seen once) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	class, err := shed.ParseClass(d.Val())
	if err != nil {
		return d.WrapErr(err)
	}
	var set caddy.ModuleMap
	if paths := d.RemainingArgs(); len(paths) > 0 {
		for _, p := range paths {
			if !strings.HasPrefix(p, "/") && p != "*" {
				return d.Errf("%q is no path; other matchers go into a block", p)
			}
		}
		set = caddy.ModuleMap{"path": caddyconfig.JSON(caddyhttp.MatchPath(paths), nil)}
		// A block after paths would be read as a line of its own.
		if nesting := d.Nesting(); d.NextBlock(nesting) {
			return d.Err("a class has paths or a block of matchers, not both")
		}
	} else {
		set, err = caddyhttp.ParseCaddyfileNestedMatcherSet(d)
		if err != nil {
			return err
		}
		if len(set) == 0 {
			if d.Val() == "}" {
				return d.Err("the block has no matchers")
			}
			if seen["class"] {
				return d.Err("a second class for all other requests")
			}
			seen["class"] = true
			h.Class = class
			return nil
		}
	}
	h.Classes = append(h.Classes, Classification{Class: class, MatcherSetsRaw: caddyhttp.RawMatcherSets{set}})
	return nil
}

// UnmarshalCaddyfile reads the directive, which has no settings:
//
//	heapwright_ready [<matcher>]
func (h *Ready) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Err("heapwright_ready has no settings")
	}
	return nil
}

// once are the settings that a block has had.
type once map[string]bool

func (o once) take(d *caddyfile.Dispenser) error {
	if o[d.Val()] {
		return d.Errf("%s is set a second time", d.Val())
	}
	o[d.Val()] = true
	return nil
}

func unknown(d *caddyfile.Dispenser, known ...string) error {
	return d.Errf("there is no setting %q here; there are %s", d.Val(), strings.Join(known, ", "))
}

func setFlag(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

// oneArg has parse read the only argument.
func oneArg(d *caddyfile.Dispenser, parse func() error) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	if err := parse(); err != nil {
		return err
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func parseSize(d *caddyfile.Dispenser, to *uint64) error {
	n, err := humanize.ParseBytes(d.Val())
	if err != nil || n == 0 || n > math.MaxInt64 {
		return d.Errf("%q is no size, such as 64MiB", d.Val())
	}
	*to = n
	return nil
}

func parseDuration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	v, err := caddy.ParseDuration(d.Val())
	if err != nil || v <= 0 {
		return d.Errf("%q is no duration, such as 10s", d.Val())
	}
	*to = caddy.Duration(v)
	return nil
}

// parseRatio reads 0.25 or 25%.
func parseRatio(d *caddyfile.Dispenser, to *float64) error {
	text, percent := strings.CutSuffix(d.Val(), "%")
	v, err := strconv.ParseFloat(text, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return d.Errf("%q is no ratio, such as 0.25 or 25%%", d.Val())
	}
	*to = v
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Ready)(nil)
)
