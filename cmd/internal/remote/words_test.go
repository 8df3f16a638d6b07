package remote

import (
	"context"
	"errors"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// TestWords compares the places of the settings with the symbol table, and with
// a stripped build of the same program, where they must be found as well.
func TestWords(t *testing.T) {
	for _, release := range targettest.Toolchains {
		t.Run("go"+release, func(t *testing.T) {
			modes := [][]string{nil, {"-ldflags=-s -w"}}
			if release == targettest.Local {
				modes = append(modes, []string{"-buildmode=pie", "-ldflags=-s -w"})
			}
			for _, flags := range modes {
				tg := targettest.Start(t, targettest.Build(t, release, append([]string{"CGO_ENABLED=0"}, flags...)...))
				target, err := Attach(context.Background(), tg.PID())
				var unknown *UnsupportedError
				if errors.As(err, &unknown) {
					t.Skipf("no tables: %v", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				defer target.Close()
				for symbol, place := range wordPlaces {
					w, err := target.Word(symbol)
					if err != nil {
						t.Errorf("%q: %v", flags, err)
						continue
					}
					if w.Size != place.size || w.Addr%uint64(w.Size) != 0 {
						t.Errorf("%s has %d bytes at %#x", symbol, w.Size, w.Addr)
					}
					if flags == nil {
						want, ok := tg.Global(place.global)
						if place.field != "" {
							f, _ := tg.Layout().Field(place.field)
							want += uint64(f.Off)
						}
						if !ok || w.Addr != want {
							t.Errorf("%s is at %#x, by the symbol table at %#x", symbol, w.Addr, want)
						}
					}
					v, err := target.Value(w)
					if err != nil {
						t.Error(err)
					}
					switch {
					case symbol == WordGCPercent && v != 100, symbol == WordHeapMinimum && v != 4<<20,
						symbol == WordMemoryLimit && v != 1<<63-1, symbol == WordMemProfileRate && v != 512<<10:
						t.Errorf("%s is %d", symbol, v)
					}
				}
			}
		})
	}
}

func TestWordRefuses(t *testing.T) {
	tg := targettest.Start(t, targettest.Build(t, targettest.Local, "CGO_ENABLED=0"))
	target, err := Attach(context.Background(), tg.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := target.Word("runtime.allglen"); err == nil {
		t.Error("a word that is no setting was given out")
	}
	var refused *RefusedError
	prog := *target.prog
	for _, tt := range []struct {
		name   string
		change func(*program)
	}{
		{"one vote", func(p *program) { p.voters = map[string]int{"runtime.gcController": 1} }},
		{"not found", func(p *program) { p.globals = nil }},
		{"votes that disagree", func(p *program) {
			p.globals, p.missing = nil, map[string]string{"runtime.gcController": "30 votes disagree"}
		}},
		{"not aligned", func(p *program) {
			p.globals = map[string]uint64{"runtime.gcController": prog.globals["runtime.gcController"] + 2}
		}},
	} {
		changed := prog
		tt.change(&changed)
		target.prog = &changed
		if w, err := target.Word(WordMemoryLimit); !errors.As(err, &refused) {
			t.Errorf("%s: %+v, %v", tt.name, w, err)
		}
	}
	changed := prog
	changed.voters = map[string]int{"runtime.mutexprofilerate": 1, "runtime.blockprofilerate": 1}
	target.prog = &changed
	if _, err := target.Word(WordMutexProfileRate); !errors.As(err, &refused) {
		t.Errorf("a single vote that nothing confirms: %v", err)
	}
	target.prog = &prog
	target.proc.Close()
	target.proc = nil
	if _, err := target.Word(WordMemoryLimit); !errors.As(err, &refused) {
		t.Errorf("a captured image: %v", err)
	}
}
