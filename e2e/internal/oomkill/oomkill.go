// Package oomkill has programs killed by the kernel's OOM killer in memory cgroups of
// their own, while `heapwright oom watch` looks on, and scores what it kept: whether a
// profile was captured before the kill, and whether it names what grew. It knows what
// programs it starts, and of Heapwright its binary and its recordings.
package oomkill

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/record"
)

// A Case is one way to die.
type Case struct {
	Name     string
	Mode     string // of e2e/oomsubject
	Go       string // toolchain, "" for the one at hand
	LimitMiB int
	// Seconds is about how long it takes from where it begins to grow to the limit; 0 for
	// as fast as it goes.
	Seconds float64
	Warm    time.Duration
	Site    string // the function that allocates what grows, or that the goroutines are in
	Twins   int    // so many at once, each in a group of its own; 0 for one
}

// What the modes grow at, and how it is known that it was found.
var sites = map[string]string{
	"heap": "main.growSessions", "small": "main.growIndex", "steps": "main.growSteps", "exponential": "main.growDoubling",
	"garbage": "main.growGarbage", "pagecache": "main.growSessions", "stacks": "main.growStacks", "goroutines": "main.growGoroutines",
}

// Releases are the Go releases that subjects are built with.
var Releases = []string{"", "go1.22.12", "go1.24.13", "go1.27.4"}

// Cases are 60 ways to die.
func Cases() []Case {
	var all []Case
	add := func(mode string, limit int, seconds float64, warm time.Duration) {
		c := Case{Mode: mode, LimitMiB: limit, Seconds: seconds, Warm: warm, Site: sites[mode], Go: Releases[(len(all)+len(all)/4)%len(Releases)]}
		speed := "as fast as it goes"
		if seconds > 0 {
			speed = fmt.Sprintf("in %gs", seconds)
		}
		c.Name = fmt.Sprintf("%s, %d MiB, %s", mode, limit, speed)
		all = append(all, c)
	}
	soon, later := 300*time.Millisecond, time.Second
	for _, limit := range []int{32, 64, 128, 256, 512, 1024} {
		add("heap", limit, 1, soon)
	}
	for _, limit := range []int{32, 64, 128, 512} {
		add("heap", limit, 6, later)
		add("small", limit, 1.5, soon)
		add("mmap", limit, 1, soon)
		add("mmap", limit, 5, later)
	}
	for _, limit := range []int{64, 256, 1024} {
		add("heap", limit, 0, later)
		add("steps", limit, 2, soon)
		add("exponential", limit, 2, soon)
		add("garbage", limit, 1.5, soon)
	}
	for _, limit := range []int{64, 128, 256} {
		add("stacks", limit, 2, soon)
		add("goroutines", limit, 3, soon)
		add("sibling", limit, 2, soon)
		add("pagecache", limit, 3, soon)
	}
	for _, mode := range []string{"small", "stacks", "mmap", "sibling", "pagecache", "goroutines"} {
		add(mode, 96, 8, later)
	}
	// Two kills in one second, five times.
	for range 5 {
		add("heap", 64, 1.5, soon)
		all[len(all)-1].Twins = 2
		all[len(all)-1].Name = "two at once: " + all[len(all)-1].Name
	}
	return all
}

// Slice picks so many cases, spread over all.
func Slice(all []Case, n int) []Case {
	if n <= 0 || n >= len(all) {
		return all
	}
	var out []Case
	for i := range n {
		out = append(out, all[i*len(all)/n])
	}
	return out
}

// A Result is what came of one kill.
type Result struct {
	Case     string        `json:"case"`
	Mode     string        `json:"mode"`
	Go       string        `json:"go"`
	LimitMiB int           `json:"limit_mib"`
	Killed   bool          `json:"killed"` // by the kernel, as its counter says
	Reported bool          `json:"reported"`
	Known    []string      `json:"known"`
	Captures int           `json:"captures"` // before the kill, quiet ones not counted
	Any      bool          `json:"any"`      // at least a quiet one was
	Took     time.Duration `json:"took"`     // the longest capture
	Before   time.Duration `json:"before"`   // the last capture before the kill
	Filled   float64       `json:"filled"`   // how full the group was then, of its limit
	Named    bool          `json:"named"`    // what grew
	Found    string        `json:"found"`    // what is said to have grown most
	Verdict  string        `json:"verdict"`  // of heapwright oom
	Problem  string        `json:"problem,omitempty"`
}

// A Bench has the programs that a campaign needs.
type Bench struct {
	Heapwright string
	Dir        string            // for what is kept
	Subjects   map[string]string // by Go release
}

// BuildSubject builds e2e/oomsubject with a Go release, stripped.
func BuildSubject(ctx context.Context, root, release, dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "e2e", "oomsubject", "main.go"))
	if err != nil {
		return "", err
	}
	src := filepath.Join(dir, "src-"+cmp.Or(release, "local"))
	if err := os.MkdirAll(src, 0o755); err != nil {
		return "", err
	}
	// A module of its own, that old releases can build.
	err = errors.Join(os.WriteFile(filepath.Join(src, "main.go"), text, 0o644),
		os.WriteFile(filepath.Join(src, "go.mod"), []byte("module oomsubject\n\ngo 1.20\n"), 0o644))
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "subject-"+cmp.Or(release, "local"))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if release != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+release)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the subject with %s: %w\n%s", cmp.Or(release, "the toolchain at hand"), err, text)
	}
	return out, nil
}

// A line is one of oom watch --json.
type line struct {
	PID      int      `json:"pid"`
	File     string   `json:"file"`
	Error    string   `json:"error"`
	Known    []string `json:"known"`
	Captures []struct {
		Why        string   `json:"why"`
		Kinds      []string `json:"kinds"`
		Took       float64  `json:"took_seconds"`
		Before     float64  `json:"before_kill_seconds"`
		GroupBytes uint64   `json:"group_bytes"`
	} `json:"captures"`
}

// Run runs the cases one after the other beside one watcher, and calls each with what
// came of every kill.
func (b *Bench) Run(ctx context.Context, cases []Case, each func(Result)) error {
	watch := exec.CommandContext(ctx, b.Heapwright, "oom", "watch", "--name", "subject-*", "--json", "--data", b.Dir)
	watch.Cancel = func() error { return watch.Process.Signal(os.Interrupt) }
	watch.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	watch.Stderr = &stderr
	out, err := watch.StdoutPipe()
	if err != nil {
		return err
	}
	if err := watch.Start(); err != nil {
		return err
	}
	k := &kills{byPID: map[int]line{}}
	go k.read(out)
	// It needs a moment to see what there is.
	time.Sleep(2 * time.Second)
	for _, c := range cases {
		if ctx.Err() != nil {
			break
		}
		n := max(c.Twins, 1)
		results := make([]Result, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Add(1)
			go func() {
				defer wg.Done()
				results[i] = b.one(ctx, c, k)
			}()
		}
		wg.Wait()
		for _, r := range results {
			each(r)
		}
	}
	err = watch.Process.Signal(os.Interrupt)
	werr := watch.Wait()
	if stderr.Len() > 0 {
		fmt.Fprintf(os.Stderr, "oom watch said:\n%.4000s\n", stderr.String())
	}
	return errors.Join(err, werr)
}

// kills are the lines of the watcher.
type kills struct {
	mu    sync.Mutex
	byPID map[int]line
}

func (k *kills) read(out interface{ Read([]byte) (int, error) }) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if json.Unmarshal(s.Bytes(), &l) != nil {
			continue
		}
		k.mu.Lock()
		k.byPID[l.PID] = l
		k.mu.Unlock()
	}
}

func (k *kills) wait(pid int, limit time.Duration) (line, bool) {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		k.mu.Lock()
		l, ok := k.byPID[pid]
		k.mu.Unlock()
		if ok || time.Now().After(end) {
			return l, ok
		}
	}
}

func (b *Bench) one(ctx context.Context, c Case, k *kills) (r Result) {
	r = Result{Case: c.Name, Mode: c.Mode, Go: cmp.Or(c.Go, "local"), LimitMiB: c.LimitMiB}
	fail := func(err error) Result {
		r.Problem = err.Error()
		return r
	}
	group, err := harness.MakeCgroup(harness.Limits{MemoryBytes: uint64(c.LimitMiB) << 20})
	if err != nil {
		return fail(err)
	}
	defer func() {
		for range 200 { // the kernel takes its time to let go of who was killed
			if group.Remove() == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	rate := 0.0
	if c.Seconds > 0 {
		rate = float64(c.LimitMiB) * 0.88 / c.Seconds
	}
	cache := filepath.Join(b.Dir, fmt.Sprintf("cache-%d", time.Now().UnixNano()))
	cmd := exec.CommandContext(ctx, b.Subjects[c.Go], "-mode", c.Mode, "-limit", fmt.Sprint(c.LimitMiB), "-rate", fmt.Sprint(rate),
		"-warm", c.Warm.String(), "-file", cache)
	defer os.Remove(cache)
	group.Enter(cmd)
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	late := time.AfterFunc(c.Warm+time.Duration(20*c.Seconds*float64(time.Second))+90*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	late.Stop()
	n, err := group.OOMKills()
	if err != nil {
		return fail(err)
	}
	if r.Killed = n > 0; !r.Killed {
		return fail(errors.New("the kernel did not kill it"))
	}
	l, ok := k.wait(cmd.Process.Pid, 10*time.Second)
	if r.Reported = ok; !ok {
		return fail(errors.New("the watcher did not tell of it"))
	}
	r.Known = l.Known
	for _, p := range l.Captures {
		if len(p.Kinds) == 0 {
			continue
		}
		r.Took = max(r.Took, seconds(p.Took))
		if p.Before < 0 {
			continue
		}
		r.Any = true
		r.Before, r.Filled = seconds(p.Before), float64(p.GroupBytes)/float64(uint64(c.LimitMiB)<<20)
		if p.Why != "quiet" {
			r.Captures++
		}
	}
	if l.Error != "" {
		return fail(errors.New(l.Error))
	}
	if err := r.score(l.File, c); err != nil {
		return fail(err)
	}
	r.Verdict = b.verdict(ctx, l.File)
	return r
}

// verdict is what heapwright oom says of a post-mortem.
func (b *Bench) verdict(ctx context.Context, file string) string {
	out, err := exec.CommandContext(ctx, b.Heapwright, "oom", file, "--json").Output()
	var doc struct {
		Verdict json.RawMessage `json:"verdict"`
	}
	if err != nil || json.Unmarshal(out, &doc) != nil || len(doc.Verdict) == 0 {
		return "-"
	}
	var word string
	if json.Unmarshal(doc.Verdict, &word) == nil {
		return word
	}
	var parts struct {
		Memory string `json:"memory"`
		Kind   string `json:"kind"`
	}
	if json.Unmarshal(doc.Verdict, &parts) == nil {
		return cmp.Or(parts.Kind, parts.Memory, "-")
	}
	return "-"
}

// score says whether what was captured last before the kill names what grew.
func (r *Result) score(file string, c Case) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := record.ReadAll(f)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("the post-mortem is empty")
	}
	rec := all[len(all)-1]
	var kill time.Time
	for _, e := range rec.Events {
		if e.Kind == record.EventOOMKill {
			kill = e.Time
		}
	}
	switch c.Mode {
	case "mmap":
		// It is outside of the heap: no site of the heap may be blamed for it.
		at, bytes := topSite(rec, kill)
		r.Found = "outside of the heap"
		if r.Named = bytes < float64(c.LimitMiB<<20)/4; !r.Named {
			r.Found = at
		}
	case "sibling":
		r.Found, r.Named = topSibling(rec)
	case "stacks", "goroutines":
		r.Found = topGoroutines(rec, kill)
		r.Named = r.Found == c.Site
	default:
		r.Found, _ = topSite(rec, kill)
		r.Named = r.Found == c.Site
	}
	return nil
}

// topSite is the program's function at whose allocations the heap grew most between the
// first profile and the last before the kill, and by how much.
func topSite(rec *record.Recording, kill time.Time) (string, float64) {
	// The bytes in use by function, at each instant: what was published and what came after.
	var times []time.Time
	at := map[time.Time]map[string]float64{}
	for i := range rec.Profiles {
		p := &rec.Profiles[i]
		if p.Kind != record.ProfileHeap && p.Kind != "heap_since" || p.Time.After(kill) {
			continue
		}
		if at[p.Time] == nil {
			at[p.Time] = map[string]float64{}
			times = append(times, p.Time)
		}
		for _, s := range p.Sites {
			for _, f := range s.Stack {
				if strings.HasPrefix(f.Func, "main.") {
					at[p.Time][f.Func] += s.InUseBytes
					break
				}
			}
		}
	}
	if len(times) == 0 {
		return "no profile", 0
	}
	slices.SortFunc(times, time.Time.Compare)
	first, last := map[string]float64{}, at[times[len(times)-1]]
	if len(times) > 1 {
		first = at[times[0]]
	}
	best, most := "nothing", 0.0
	for name, v := range last {
		if d := v - first[name]; d > most {
			best, most = name, d
		}
	}
	return best, most
}

// topGoroutines is the function that created most of the goroutines, that the program
// itself created, in the last snapshot before the kill.
func topGoroutines(rec *record.Recording, kill time.Time) string {
	for i := len(rec.Goroutines) - 1; i >= 0; i-- {
		g := &rec.Goroutines[i]
		if g.Time.After(kill) {
			continue
		}
		counts := map[string]int{}
		best := "nothing"
		for _, group := range g.Groups {
			if name := group.CreatedBy.Func; strings.HasPrefix(name, "main.") {
				counts[name] += group.Count
				if counts[name] > counts[best] {
					best = name
				}
			}
		}
		return best
	}
	return "no goroutines"
}

// topSibling is the largest of the other processes of the group at the last look that
// has them, and whether there is one that is larger than a fifth of the limit.
func topSibling(rec *record.Recording) (string, bool) {
	for i := len(rec.Events) - 1; i >= 0; i-- {
		e := &rec.Events[i]
		if e.Kind != "oom_sibling" {
			continue
		}
		var bytes uint64
		fmt.Sscan(e.Data["rss_bytes"], &bytes)
		if strings.HasPrefix(e.Data["name"], "subject-") && bytes > 8<<20 {
			return "a sibling", true
		}
	}
	return "no sibling", false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
