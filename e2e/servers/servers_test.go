package servers

import (
	"context"
	"debug/elf"
	"testing"

	"github.com/google/pprof/profile"
)

// TestServers starts each server, has it answer a few hundred operations without
// a mistake, reads its own profile, and stops it.
func TestServers(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
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
		})
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
