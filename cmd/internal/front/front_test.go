package front

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

var update = flag.Bool("update", false, "write the goldens anew")

const mib = 1 << 20

func mebibytes(v float64) string { return fmt.Sprintf("%.0fMi", v/mib) }

// around is a value with an interval of so much on either side.
func around(v, ratio float64) Interval { return Interval{v, v * (1 - ratio), v * (1 + ratio)} }

// service is a plot as of a server with 100 MiB of live heap.
func service() *Plot {
	p := &Plot{Title: "orders 4123: what GOGC and GOMEMLIMIT would do", Subtitle: "go1.26.8, recorded for 30s, 212 GC cycles", Limit: 512 * mib, Bytes: mebibytes}
	for _, gogc := range []float64{25, 50, 100, 200, 400} {
		rss := (100*(1+gogc/100)*1.1 + 60) * mib
		p.Points = append(p.Points, Point{
			Label: fmt.Sprintf("GOGC %.0f", gogc), RSS: around(rss, 0.03), GCCPU: around(0.08*100/gogc, 0.12),
			Now: gogc == 100, Fails: rss > p.Limit,
		})
	}
	p.Points = append(p.Points,
		Point{Label: "GOGC off, 240Mi", RSS: around(300*mib, 0.02), GCCPU: around(0.075, 0.1)},
		Point{Label: "GOGC off, 380Mi", RSS: around(470*mib, 0.02), GCCPU: around(0.031, 0.1), Best: true},
		Point{Label: "GOGC off, 120Mi", RSS: around(180*mib, 0.02), GCCPU: around(0.61, 0.3), Fails: true})
	return p
}

// grid is a plot with hundreds of points.
func grid() *Plot {
	p := service()
	for i := range 20 {
		for j := range 20 {
			gogc := 20 * math.Pow(1.2, float64(i))
			rss := (100*(1+gogc/100)*1.1 + 60 + 3*float64(j)) * mib
			p.Points = append(p.Points, Point{Label: fmt.Sprintf("GOGC %.0f", gogc), RSS: around(rss, 0.03), GCCPU: around(0.08*100/gogc*(1+float64(j)/40), 0.12), Fails: rss > p.Limit})
		}
	}
	return p
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func plots() map[string]*Plot {
	one := service()
	one.Points = one.Points[2:3]
	one.Limit = 0
	hostile := service()
	hostile.Title = "<script>alert(1)</script>\x1b[2J"
	hostile.Points[1].Label = strings.Repeat("a very long label ", 9)
	for _, bad := range []float64{math.NaN(), math.Inf(1), -1} {
		hostile.Points = append(hostile.Points, Point{Label: "bad", RSS: around(bad, 0), GCCPU: around(0.1, 0)}, Point{Label: "bad", RSS: around(300*mib, 0), GCCPU: around(bad, 0)})
	}
	fails := service()
	for i := range fails.Points {
		fails.Points[i].Fails, fails.Points[i].Best = true, false
	}
	free := service()
	for i := range free.Points {
		free.Points[i].GCCPU = Interval{}
	}
	return map[string]*Plot{"service": service(), "grid": grid(), "one": one, "none": {Title: "nothing", Bytes: mebibytes}, "hostile": hostile, "all-fail": fails, "free": free}
}

func TestText(t *testing.T) {
	for name, p := range plots() {
		t.Run(name, func(t *testing.T) {
			for _, width := range []int{0, 30, 80, 200} {
				var b strings.Builder
				if err := p.Text(&b, Options{Width: width, Height: 14}); err != nil {
					t.Fatal(err)
				}
				for _, l := range strings.Split(b.String(), "\n") {
					if n := term.Width(l); n > max(width, 40) {
						t.Errorf("%d columns in %d: %s", n, width, l)
					}
				}
				if strings.ContainsRune(b.String(), '\x1b') {
					t.Error("an escape sequence without colour")
				}
				if width == 80 {
					golden(t, name+".txt", b.String())
				}
			}
		})
	}
}

func TestSVG(t *testing.T) {
	for name, p := range plots() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := p.SVG(&b); err != nil {
				t.Fatal(err)
			}
			for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("it is not XML: %v", err)
				}
			}
			for _, bad := range []string{"<script", "NaN", "Inf", "http://", "https://", "\x1b"} {
				if strings.Contains(strings.ReplaceAll(b.String(), `xmlns="http://www.w3.org/2000/svg"`, ""), bad) {
					t.Errorf("it holds %q", bad)
				}
			}
			golden(t, name+".svg", b.String())
		})
	}
}

func TestEfficient(t *testing.T) {
	at := func(rss, cpu float64) Point { return Point{RSS: around(rss, 0), GCCPU: around(cpu, 0)} }
	dead := at(1, 0)
	dead.Fails = true
	for _, tc := range []struct {
		name   string
		points []Point
		want   []int
	}{
		{"none", nil, nil},
		{"one", []Point{at(5, 5)}, []int{0}},
		{"in the order of memory", []Point{at(3, 1), at(1, 3), at(2, 2)}, []int{1, 2, 0}},
		{"beaten in both", []Point{at(1, 1), at(2, 2)}, []int{0}},
		{"beaten in one, equal in the other", []Point{at(1, 2), at(1, 1), at(2, 1)}, []int{1}},
		{"equal", []Point{at(1, 1), at(1, 1)}, []int{0}},
		{"those that fail", []Point{dead, at(2, 2)}, []int{1}},
		{"not a number", []Point{at(math.NaN(), 0), at(1, math.Inf(1)), at(2, 2)}, []int{2}},
	} {
		if got := Efficient(tc.points); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 10, "[0 2 4 6 8 10]"},
		{0, 0.113, "[0 0.025 0.05 0.075 0.1]"},
		{7, 8, "[7 7.2 7.4 7.6 7.8 8]"},
		{5, 5, "[]"},
		{0, math.Inf(1), "[]"},
		{math.NaN(), 1, "[]"},
	} {
		got := ticks(tc.lo, tc.hi, 5)
		for i := range got {
			got[i] = math.Round(got[i]*1e6) / 1e6
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("from %v to %v: %v, want %s", tc.lo, tc.hi, got, tc.want)
		}
	}
	if got := byteTicks(100*mib, 500*mib, 5); got[0] != 100*mib || got[1] != 200*mib {
		t.Errorf("in MiB: %v", got)
	}
	if got := byteTicks(1<<30, 4<<30, 6); got[0] != 1<<30 || got[1] != 1.5*(1<<30) {
		t.Errorf("in GiB: %v", got)
	}
}

func TestShare(t *testing.T) {
	for _, tc := range []struct {
		v, step float64
		want    string
	}{{0.5, 0.1, "50%"}, {0.075, 0.025, "7.5%"}, {0.25, 0.25, "25%"}, {0.002, 0.001, "0.2%"}, {0.3, 0.1, "30%"}, {0.0002, 0.0002, "0.02%"}, {0, 0.001, "0.0%"}} {
		if got := share(tc.v, tc.step); got != tc.want {
			t.Errorf("%v in steps of %v is %s, want %s", tc.v, tc.step, got, tc.want)
		}
	}
}

func TestLabelsDoNotOverlap(t *testing.T) {
	for name, p := range plots() {
		d := &drawing{}
		x, y, ok := p.scales()
		if !ok {
			continue
		}
		p.draw(d, x, y)
		if len(d.labels) == 0 {
			t.Errorf("%s: no labels", name)
		}
		for i, a := range d.labels {
			if slices.ContainsFunc(d.labels[i+1:], a.overlaps) {
				t.Errorf("%s: a label over another", name)
			}
		}
	}
}
