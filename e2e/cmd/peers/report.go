package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/peers"
	"github.com/heapwright/heapwright/e2e/internal/stat"
)

// The results stand between these lines in a page.
const (
	resultsBegin = "<!-- results: written by peers report -->"
	resultsEnd   = "<!-- end of results -->"
)

func reportCommand(args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.StringVar(&dir, "dir", dir, "where results are kept")
	into := flags.String("into", "", "a `page` whose results are replaced; printed if empty")
	bench := flags.String("bench", "", "a `file` with the output of BenchmarkAdmitted of e2e/guarded")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := readResults(dir)
	if err != nil {
		return err
	}
	if *bench != "" {
		text, err := os.ReadFile(*bench)
		if err != nil {
			return err
		}
		r.admitted = admitted(string(text))
	}
	var text bytes.Buffer
	r.write(&text)
	if *into == "" {
		_, err := out.Write(text.Bytes())
		return err
	}
	page, err := os.ReadFile(*into)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(page, []byte(resultsBegin+"\n"))
	_, after, ok2 := bytes.Cut(rest, []byte(resultsEnd+"\n"))
	if !ok || !ok2 {
		return fmt.Errorf("writing the results into %s: it needs the lines %q and %q", *into, resultsBegin, resultsEnd)
	}
	page = slices.Concat(before, []byte(resultsBegin+"\n"), text.Bytes(), []byte(resultsEnd+"\n"), after)
	return os.WriteFile(*into, page, 0o644)
}

// results are all there are.
type results struct {
	faults, oom []peers.Run
	healthy     []Minute
	admitted    map[string][]float64 // nanoseconds a request, by guard
}

// admitted reads what a guard adds to a request that it admits.
func admitted(text string) map[string][]float64 {
	out := map[string][]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "ns/op" {
			continue
		}
		name, ok := strings.CutPrefix(f[0], "BenchmarkAdmitted/")
		ns, err := strconv.ParseFloat(f[2], 64)
		if !ok || err != nil {
			continue
		}
		if at := strings.LastIndexByte(name, '-'); at > 0 { // GOMAXPROCS
			name = name[:at]
		}
		out[name] = append(out[name], ns)
	}
	return out
}

func readResults(dir string) (r results, err error) {
	if r.faults, err = read[peers.Run](dir, faultsFile); err != nil {
		return r, err
	}
	if r.oom, err = read[peers.Run](dir, oomFile); err != nil {
		return r, err
	}
	r.healthy, err = read[Minute](dir, healthyFile)
	return r, err
}

// read reads a file of results, or a compressed one, as those that docs/GUARD.md was
// made of are kept.
func read[T any](dir, name string) ([]T, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return jsonl.Read[T](path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	var out []T
	for dec := json.NewDecoder(z); ; {
		var v T
		if err := dec.Decode(&v); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		out = append(out, v)
	}
}

func (r results) write(w io.Writer) {
	if len(r.faults) > 0 {
		first, last := r.faults[0].Started, r.faults[0].Started
		var busy []float64
		for _, run := range r.faults {
			first, last = earlier(first, run.Started), later(last, run.Started)
			busy = append(busy, run.MachineCores)
		}
		fmt.Fprintf(w, "%d runs on %s, %s to %s UTC. All programs on the machine together used %.2f CPUs (median of the runs).\n",
			len(r.faults), first.UTC().Format(time.DateOnly), first.UTC().Format("15:04"), last.UTC().Format("15:04"), median(busy))
	}
	for _, f := range peers.Faults {
		r.writeFault(w, f)
	}
	r.writeOOM(w)
	r.writeHealthy(w)
	r.writeCost(w)
	r.writeTargets(w)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func of(all []peers.Run, guard, fault string) (out []peers.Run) {
	for _, r := range all {
		if r.Guard == guard && (fault == "" || r.Fault == fault) {
			out = append(out, r)
		}
	}
	return out
}

// goodput is good answers a second while a fault lasted.
func goodput(r peers.Run) float64 { return r.Score.Fault.Goodput() }

// gain is how much more of a quantity Heapwright had than a peer in the blocks in
// which both were.
func gain(all []peers.Run, guard, fault string, value func(peers.Run) float64) (stat.Ratio, bool) {
	var ours, theirs []float64
	for _, peer := range of(all, guard, fault) {
		for _, us := range of(all, peers.Heapwright, fault) {
			if us.Block == peer.Block {
				ours, theirs = append(ours, value(us)), append(theirs, value(peer))
			}
		}
	}
	ratio, err := stat.PairedRatio(ours, theirs)
	return ratio, err == nil
}

// atLeastOne is goodput, where one good answer in the whole phase stands for none: a
// ratio needs something.
func atLeastOne(r peers.Run) float64 { return max(goodput(r), 1/r.Score.Fault.Seconds) }

func (r results) writeFault(w io.Writer, f peers.Fault) {
	ours := of(r.faults, peers.Heapwright, f.Name)
	if len(ours) == 0 {
		return
	}
	var due []float64
	for _, run := range ours {
		due = append(due, float64(run.Score.Fault.Due)/run.Score.Fault.Seconds)
	}
	fmt.Fprintf(w, "\n### %s: %s\n\n%.0f requests a second for %.0f s.\n\n", f.Name, f.What, median(due), ours[0].Score.Fault.Seconds)
	fmt.Fprintln(w, "| guard | runs | OOM kills a run | goodput, 1/s | heapwright's by so much | p99 of admitted, ms | refused | neither | tripped after, s | well again after, s |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|")
	for _, guard := range peers.Guards {
		runs := of(r.faults, guard, f.Name)
		if len(runs) == 0 {
			continue
		}
		var kills, good, p99, refused, lost, trip, well []float64
		never := 0
		for _, run := range runs {
			s := run.Score
			kills = append(kills, float64(run.Kills+run.EarlyKills))
			good = append(good, goodput(run))
			p99 = append(p99, 1e3*s.Fault.P99)
			refused = append(refused, float64(s.Fault.Refused)/float64(s.Fault.Due))
			lost = append(lost, float64(s.Fault.Due-s.Fault.Good-s.Fault.Refused)/float64(s.Fault.Due))
			if s.Trip >= 0 {
				trip = append(trip, s.Trip)
			}
			if s.Recover >= 0 {
				well = append(well, s.Recover)
			} else {
				never++
			}
		}
		name, times := guard, "–"
		if guard == peers.Heapwright {
			name = "**" + guard + "**"
		} else if g, ok := gain(r.faults, guard, f.Name, atLeastOne); ok {
			times = fmt.Sprintf("%.2f (%.2f to %.2f)", g.Estimate, g.Low, g.High)
		}
		again := "–"
		if len(well) > 0 {
			again = fmt.Sprintf("%.1f", median(well))
		}
		if never > 0 {
			again += fmt.Sprintf("; in %d of %d not within %.0f", never, len(runs), runs[0].Score.After.Seconds)
		}
		tripped := "–"
		if len(trip) > 0 {
			tripped = fmt.Sprintf("%.1f", median(trip))
		}
		fmt.Fprintf(w, "| %s | %d | %.1f | %.1f | %s | %.0f | %.0f%% | %.0f%% | %s | %s |\n",
			name, len(runs), mean(kills), mean(good), times, median(p99), 100*mean(refused), 100*mean(lost), tripped, again)
	}
}

func (r results) writeOOM(w io.Writer) {
	if len(r.oom) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### The kernel's OOM killer\n\n| fault | plain: killed in | heapwright: killed in |\n|---|---|---|\n")
	for _, f := range append(slices.Clone(oomFaults), "") {
		name := f
		if f == "" {
			name = "**all**"
		}
		plain, n := survivals(r.oom, peers.Plain, f)
		ours, m := survivals(r.oom, peers.Heapwright, f)
		if n+m > 0 {
			fmt.Fprintf(w, "| %s | %d of %d runs | %d of %d runs |\n", name, plain, n, ours, m)
		}
	}
}

// An hour is what a guard did while nothing was wrong.
type hour struct {
	minutes, due, good, refused, lost, kills, trips int
	cpu                                             float64
}

func (r results) hours() map[string]hour {
	out := map[string]hour{}
	sorted := slices.Clone(r.healthy)
	slices.SortFunc(sorted, func(a, b Minute) int { return a.Minute - b.Minute })
	last := map[string]int{}
	for _, m := range sorted {
		h := out[m.Guard]
		h.minutes++
		h.due += m.Part.Due
		h.good += m.Part.Good
		h.refused += m.Part.Refused
		h.lost += m.Part.Due - m.Part.Good - m.Part.Refused
		h.kills += m.Kills
		h.cpu += m.CPU
		if m.Part.Refused > 0 {
			if at, ok := last[m.Guard]; !ok || at != m.Minute-1 {
				h.trips++
			}
			last[m.Guard] = m.Minute
		}
		out[m.Guard] = h
	}
	return out
}

func (r results) writeHealthy(w io.Writer) {
	hours := r.hours()
	if len(hours) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### An hour in which nothing is wrong\n\n| guard | minutes | requests | refused | false trips | late or lost | OOM kills | CPU per request, ms |\n|---|---|---|---|---|---|---|---|\n")
	// What is none of the guards is one of them in another state.
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(hours)), func(g string) bool { return slices.Contains(peers.Guards, g) })
	for _, guard := range slices.Concat(peers.Guards, others) {
		h, ok := hours[guard]
		if !ok {
			continue
		}
		fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %d | %d | %.2f |\n", guard, h.minutes, h.due, h.refused, h.trips, h.lost, h.kills, 1e3*h.cpu/float64(max(1, h.due)))
	}
}

func (r results) writeCost(w io.Writer) {
	ours := of(r.faults, peers.Heapwright, "")
	if len(ours) == 0 {
		return
	}
	cost := func(run peers.Run) float64 { return run.CPU }
	fmt.Fprintf(w, "\n### What a request costs\n\n| guard | runs | ms of CPU a request before the faults, median | heapwright's by so much | ns that admission adds, on all CPUs at once, median |\n|---|---|---|---|---|\n")
	for _, guard := range peers.Guards {
		var ms []float64
		for _, run := range of(r.faults, guard, "") {
			ms = append(ms, 1e3*run.CPU)
		}
		if len(ms) == 0 {
			continue
		}
		times := "–"
		if guard != peers.Heapwright {
			if g, ok := gain(r.faults, guard, "", cost); ok {
				times = fmt.Sprintf("%.3f (%.3f to %.3f)", g.Estimate, g.Low, g.High)
			}
		}
		adds := "–"
		if ns := r.admitted[guard]; len(ns) > 0 {
			adds = fmt.Sprintf("%.0f", median(ns))
		}
		fmt.Fprintf(w, "| %s | %d | %.2f | %s | %s |\n", guard, len(ms), median(ms), times, adds)
	}
}

// writeTargets holds what came of it against what was to be reached.
func (r results) writeTargets(w io.Writer) {
	ours := of(r.faults, peers.Heapwright, "")
	if len(ours) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### Targets\n\n| target | measured | met |\n|---|---|---|\n")
	kills, runs := 0, 0
	for _, run := range slices.Concat(ours, of(r.oom, peers.Heapwright, "")) {
		runs++
		if run.Kills+run.EarlyKills > 0 {
			kills++
		}
	}
	fmt.Fprintf(w, "| no OOM kill where the live heap fits | killed in %d of %d runs | %s |\n", kills, runs, yes(kills == 0))
	for _, f := range peers.Faults {
		best, most := "", math.Inf(-1)
		for _, guard := range peers.Guards {
			if guard == peers.Heapwright {
				continue
			}
			var good []float64
			for _, run := range of(r.faults, guard, f.Name) {
				good = append(good, goodput(run))
			}
			if len(good) > 0 && mean(good) > most {
				best, most = guard, mean(good)
			}
		}
		if best == "" {
			continue
		}
		g, ok := gain(r.faults, best, f.Name, atLeastOne)
		if !ok {
			continue
		}
		fmt.Fprintf(w, "| goodput ≥ 1.3 times the best peer's, %s | %.2f (%.2f to %.2f) times %s's | %s |\n", f.Name, g.Estimate, g.Low, g.High, best, yes(g.Estimate >= 1.3))
	}
	if h, ok := r.hours()[peers.Heapwright]; ok {
		met := yes(h.trips == 0)
		if h.trips == 0 && h.minutes < 60 {
			met = fmt.Sprintf("in %d minutes", h.minutes)
		}
		fmt.Fprintf(w, "| no false trip in an hour | %d in %d minutes, %d requests refused | %s |\n", h.trips, h.minutes, h.refused, met)
	}
	late, slowest := 0, 0.0
	for _, run := range ours {
		if run.Score.Recover < 0 {
			late++
		}
		slowest = max(slowest, run.Score.Recover)
	}
	fmt.Fprintf(w, "| well again ≤ 60 s after a fault | slowest %.1f s; in %d of %d runs not within the %.0f s that were watched | %s |\n", slowest, late, len(ours), ours[0].Score.After.Seconds, yes(late == 0))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(max(1, len(v)))
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
