package servers

import (
	"context"
	"debug/elf"
	"errors"
	"testing"
	"time"

	"github.com/google/pprof/profile"
)

// TestServers starts each server, has it answer a few hundred operations without
// a mistake, reads its own profile, and stops it.
func TestServers(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) { testServer(t, s) })
	}
}

// TestLadenServers does the same with the servers that have something to keep.
func TestLadenServers(t *testing.T) {
	for _, s := range Laden() {
		t.Run(s.Name, func(t *testing.T) {
			if _, built, err := s.Recipe.Path(); err == nil && !built && s.Name == "prometheus" {
				t.Skip("Prometheus is not built: that takes nine minutes of CPU, make twin does it")
			}
			testServer(t, s)
		})
	}
}

func testServer(t *testing.T, s Server) {
	bin, err := s.Recipe.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inst, err := s.Start(t.Context(), bin, t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := inst.Stop(); err != nil {
			t.Error(err)
		}
	}()
	const ops = 320 // a multiple of what NATS sends at once
	st, err := inst.Load(t.Context(), Load{Ops: ops})
	if err != nil || st.Ops != ops || st.Errors != 0 {
		t.Errorf("%+v, %v; want %d operations and no errors", st, err, ops)
	}
	raw, err := inst.Profile(t.Context(), "goroutine")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := profile.ParseData(raw); err != nil || len(p.Sample) == 0 {
		t.Errorf("its own goroutine profile: %v", err)
	}
}

func TestUnboundedLoadIsRefused(t *testing.T) {
	inst := &Instance{conf: config{load: func(context.Context, Load) (Stats, error) {
		t.Error("it was loaded")
		return Stats{}, nil
	}}}
	if _, err := inst.Load(context.Background(), Load{Rate: 1}); err == nil {
		t.Error("want an error")
	}
}

func TestRecipesAreStripped(t *testing.T) {
	path, built, err := NATS.Recipe.Path()
	if err != nil {
		t.Fatal(err)
	}
	if !built {
		t.Skip("NATS is not built yet: TestServers does")
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Errorf("%s has symbols", path)
	}
}

func TestRecipesHaveDirectoriesOfTheirOwn(t *testing.T) {
	base := NATS.Recipe
	seen := map[string]Recipe{base.dir(): base}
	for _, change := range []func(*Recipe){
		func(r *Recipe) { r.Version = "v2.15.1" },
		func(r *Recipe) { r.Symbols = true },
		func(r *Recipe) { r.Toolchain = "go1.25.0" },
		func(r *Recipe) { r.Wrapped = true },
		func(r *Recipe) { r.Package += "/other" },
	} {
		r := base
		change(&r)
		if other, ok := seen[r.dir()]; ok {
			t.Errorf("%+v and %+v share %s", r, other, r.dir())
		}
		seen[r.dir()] = r
	}
}

func TestBuiltWith(t *testing.T) {
	for _, s := range Laden() {
		r, err := s.BuiltWith("go1.27.4")
		if want := s.Recipe.Version; err != nil || r.Version != want || r.Toolchain != "go1.27.4" {
			t.Errorf("%s with go1.27.4 is %+v, %v; want version %s", s.Name, r, err, want)
		}
		r, err = s.BuiltWith("go1.22.12")
		if err != nil && !errors.Is(err, ErrTooOld) || err == nil && r.Version == s.Recipe.Version {
			t.Errorf("%s with go1.22.12 is %+v, %v; want an older version, or none", s.Name, r, err)
		}
	}
}

func TestPacerEnds(t *testing.T) {
	p := newPacer(Load{Ops: 3})
	for want := range int64(3) {
		if n, ok := p.next(t.Context()); !ok || n != want {
			t.Errorf("got %d, %t, want %d", n, ok, want)
		}
	}
	if n, ok := p.next(t.Context()); ok {
		t.Errorf("got %d after the last one", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := newPacer(Load{Rate: 1e-3}).next(ctx); ok {
		t.Error("got an operation after the end of the context")
	}
	p = newPacer(Load{Rate: 1e-3})
	p.next(t.Context()) // the first one is due at once, the second in 1,000 seconds
	if _, ok := p.next(ctx); ok {
		t.Error("got an operation after the end of the context")
	}
}

func TestPacerCountsWhatItLeavesOut(t *testing.T) {
	p := newPacer(Load{Rate: 1000})
	p.due = p.due.Add(-time.Minute) // nobody asked for a minute
	if _, ok := p.next(t.Context()); !ok {
		t.Fatal("got no operation")
	}
	// A tenth of a second of them is still handed out.
	if n := p.leftOut(); n < 59900 {
		t.Errorf("%d operations were left out, want 59,900 or more", n)
	}
	if n := newPacer(Load{}).leftOut(); n != 0 {
		t.Errorf("%d operations of a load without a rate were left out", n)
	}
}
