// Package heapwrightotel gives what Heapwright's parts know of a service to
// OpenTelemetry, through its API alone: [Register] makes observable instruments of
// metric sources, [Events] writes what a guard does as log events, and [SpanEvent]
// and [OnShed] as events of a span.
//
// Names and units are those of the sources: they are in OpenTelemetry's form to begin
// with. The package exports nothing anywhere; the service's providers do.
package heapwrightotel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelmetric "go.opentelemetry.io/otel/metric"

	"github.com/heapwright/heapwright/metric"
)

// ScopeName is the instrumentation scope to make a meter and a logger for.
const ScopeName = "github.com/heapwright/heapwright/integrations/otel"

const (
	// maxMetrics bounds what is taken from one source in one collection, should it
	// not bound itself.
	maxMetrics = 4096
	// maxInstruments bounds how many names there are, should a source make them up.
	maxInstruments = 1024
)

// Register makes an observable gauge or counter of every name that the sources
// emit, with the unit and the help, and observes their values, with the labels as
// attributes, whenever the meter's provider collects.
//
// A name that a source emits only later gets its instrument after the collection
// that met it, and is observed from the next one on. Of values with the same name and
// attributes the first counts, and so do the unit and kind of a name's first. A name
// that OpenTelemetry refuses is an error; one that comes later goes to OpenTelemetry's
// error handler, once. A source that panics loses what it would have emitted after
// that.
//
// The sources are observed until Unregister of the Registration.
func Register(meter otelmetric.Meter, sources ...metric.Source) (*Registration, error) {
	if meter == nil {
		return nil, errors.New("registering metrics: no meter; a MeterProvider makes one")
	}
	r := &Registration{
		meter:   meter,
		sources: slices.DeleteFunc(slices.Clone(sources), func(s metric.Source) bool { return s == nil }),
		known:   map[string]*instrument{},
	}
	var found []description
	for _, s := range r.sources {
		emit(s, func(m metric.Metric) { found = append(found, describe(m)) })
	}
	if err := r.extend(found); err != nil {
		_ = r.Unregister()
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return r, nil
}

// A Registration is the sources as instruments of a meter.
type Registration struct {
	meter   otelmetric.Meter
	sources []metric.Source

	changing sync.Mutex // held while instruments are made; never by a collection
	growth   sync.WaitGroup

	mu       sync.Mutex
	known    map[string]*instrument  // by name; nil for one that was refused. Replaced, never changed
	active   otelmetric.Registration // of the callback that observes all of known
	closed   bool
	growing  bool // a goroutine makes instruments
	overfull bool // the error handler knows of it
}

type description struct {
	name, unit, help string
	kind             metric.Kind
}

func describe(m metric.Metric) description { return description{m.Name, m.Unit, m.Help, m.Kind} }

type instrument struct {
	description
	observable otelmetric.Float64Observable
}

// extend makes instruments for the names that have none, and registers one callback
// for all that there are. Two would ask the sources twice in one collection.
// Between the old one's end and the new one's begin a collection finds no values.
func (r *Registration) extend(found []description) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	known, active := maps.Clone(r.known), r.active
	r.mu.Unlock()

	var errs []error
	grown := false
	for _, d := range found {
		if _, ok := known[d.name]; ok || len(known) >= maxInstruments {
			continue
		}
		i, err := r.instrument(d)
		if err != nil {
			errs = append(errs, err)
		}
		known[d.name] = i
		grown = grown || i != nil
	}
	if grown {
		if active != nil {
			errs = append(errs, active.Unregister())
		}
		var all []otelmetric.Observable
		for _, i := range known {
			if i != nil {
				all = append(all, i.observable)
			}
		}
		var err error
		if active, err = r.meter.RegisterCallback(r.observe, all...); err != nil {
			errs = append(errs, err)
		}
	}

	r.mu.Lock()
	r.known, r.active = known, active
	r.mu.Unlock()
	return errors.Join(errs...)
}

func (r *Registration) instrument(d description) (*instrument, error) {
	var o otelmetric.Float64Observable
	var err error
	if d.kind == metric.Counter {
		o, err = r.meter.Float64ObservableCounter(d.name, otelmetric.WithUnit(d.unit), otelmetric.WithDescription(d.help))
	} else {
		o, err = r.meter.Float64ObservableGauge(d.name, otelmetric.WithUnit(d.unit), otelmetric.WithDescription(d.help))
	}
	if err != nil {
		return nil, fmt.Errorf("making an instrument of %q: %w", d.name, err)
	}
	return &instrument{d, o}, nil
}

// observe is the callback.
func (r *Registration) observe(_ context.Context, o otelmetric.Observer) error {
	r.mu.Lock()
	known, closed := r.known, r.closed
	r.mu.Unlock()
	if closed {
		return nil
	}
	type series struct {
		name  string
		attrs attribute.Distinct
	}
	seen := map[series]bool{}
	var found []description
	for _, s := range r.sources {
		emit(s, func(m metric.Metric) {
			i, ok := known[m.Name]
			switch {
			case !ok:
				found = append(found, describe(m))
				return
			case i == nil || i.kind != m.Kind || i.unit != m.Unit:
				return
			}
			// The SDK adds up what an observable counter observes twice.
			attrs := attributes(m.Labels)
			key := series{m.Name, attrs.Equivalent()}
			if seen[key] {
				return
			}
			seen[key] = true
			o.ObserveFloat64(i.observable, m.Value, otelmetric.WithAttributeSet(attrs))
		})
	}
	if len(found) > 0 {
		r.grow(found, len(known))
	}
	return nil
}

// grow has the instruments made by a goroutine: the SDK holds a lock, while it
// collects, that making one takes.
func (r *Registration) grow(found []description, have int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have >= maxInstruments {
		if !r.overfull {
			r.overfull = true
			otel.Handle(fmt.Errorf("registering metrics: %d names are the most; %q has no instrument", maxInstruments, found[0].name))
		}
		return
	}
	if r.growing || r.closed {
		return
	}
	r.growing = true
	r.growth.Go(func() {
		err := r.extend(found)
		r.mu.Lock()
		r.growing = false
		r.mu.Unlock()
		if err != nil {
			otel.Handle(fmt.Errorf("registering metrics: %w", err))
		}
	})
}

// Unregister ends the observing: when it has returned, the sources are not asked
// again. Like the meter's own, it must not be called from inside a collection.
func (r *Registration) Unregister() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.growth.Wait()
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	active := r.active
	r.active = nil
	r.mu.Unlock()
	if active == nil {
		return nil
	}
	return active.Unregister()
}

// emit takes a source's metrics: no more than a bound, and no panic.
func emit(s metric.Source, take func(metric.Metric)) {
	defer func() { _ = recover() }() // a source is the service's own code
	n := 0
	s.Metrics(func(m metric.Metric) {
		if n < maxMetrics && m.Name != "" {
			n++
			take(m)
		}
	})
}

// attributes returns the labels: of two with the same key the first, and none that
// is empty, as the Prometheus text of the root module has it.
func attributes(ls []metric.Label) attribute.Set {
	kvs := make([]attribute.KeyValue, 0, len(ls))
	for _, l := range slices.Backward(ls) { // of two, NewSet keeps the last
		if l.Key != "" && l.Value != "" {
			kvs = append(kvs, attribute.String(l.Key, strings.ToValidUTF8(l.Value, "\uFFFD")))
		}
	}
	return attribute.NewSet(kvs...)
}
