package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// snapshot is a recording of n sites, each with a name that does not compress.
func snapshot(at time.Time, n int) *record.Recording {
	r := rand.New(rand.NewPCG(uint64(at.UnixNano()), uint64(n)))
	p := record.Profile{Time: at, Kind: record.ProfileHeap, PeriodBytes: 512 << 10}
	for range n {
		p.Sites = append(p.Sites, record.ProfileSite{
			Stack:      []record.Frame{{Func: fmt.Sprintf("main.f%x%x", r.Uint64(), r.Uint64()), File: "main.go", Line: r.IntN(1000)}},
			InUseBytes: 1024, InUseObjects: 1,
		})
	}
	return &record.Recording{
		Process:    record.Process{PID: 1, Name: "x", StartTime: noon},
		Goroutines: []record.Goroutines{{Time: at, Total: 7, Groups: []record.GoroutineGroup{{Count: 7, Status: "waiting", WaitReason: "select"}}}},
		Profiles:   []record.Profile{p},
	}
}

func open(t *testing.T, o Options) *Vault {
	t.Helper()
	v, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// put puts a snapshot, and fails the test when that does.
func put(t *testing.T, v *Vault, process, reason string, rec *record.Recording) Entry {
	t.Helper()
	e, err := v.Put(process, reason, rec)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func at(now *time.Time) func() time.Time { return func() time.Time { return *now } }

func TestPutAndGet(t *testing.T) {
	now := noon
	dir := t.TempDir()
	v := open(t, Options{Dir: dir, Now: at(&now)})
	rec := snapshot(noon, 3)
	e := put(t, v, "nats-server:2", "finding HW3001", rec)
	want := Entry{
		Process: "nats-server:2", Key: "20261121T120000.000000Z", Time: noon, Reason: "finding HW3001", Bytes: e.Bytes,
		Goroutines: 7, HeapInUseBytes: 3072, Kinds: []string{"goroutines", "heap"},
	}
	if !reflect.DeepEqual(e, want) || e.Bytes <= 0 {
		t.Errorf("Put returned %+v, want %+v", e, want)
	}
	second := put(t, v, "nats-server:2", "", snapshot(noon, 1))
	if second.Key <= e.Key || second.Reason != Periodic {
		t.Errorf("another of the same instant is %+v", second)
	}
	put(t, v, "other", Periodic, snapshot(noon.Add(time.Second), 1))

	check := func(v *Vault) {
		t.Helper()
		if got := v.List("nats-server:2", time.Time{}, time.Time{}); !reflect.DeepEqual(got, []Entry{want, second}) {
			t.Errorf("List is %+v, want %+v", got, []Entry{want, second})
		}
		if got := v.List("", noon.Add(time.Millisecond), time.Time{}); len(got) != 1 || got[0].Process != "other" {
			t.Errorf("List from a millisecond later is %+v", got)
		}
		if got := v.List("", time.Time{}, noon); len(got) != 1 || got[0].Key != e.Key {
			t.Errorf("List to noon is %+v", got)
		}
		got, err := v.Get("nats-server:2", e.Key)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Profiles, rec.Profiles) || !reflect.DeepEqual(got.Goroutines, rec.Goroutines) || got.Process.PID != 1 || got.Truncated != "" {
			t.Errorf("Get returned %+v", got)
		}
		if s := v.Stats(); s.Snapshots != 3 || s.Processes != 2 || !s.Oldest.Equal(noon) || !s.Newest.Equal(noon.Add(time.Second)) {
			t.Errorf("Stats are %+v", s)
		}
	}
	check(v)
	v.Close()
	check(open(t, Options{Dir: dir, Now: at(&now)}))
}

func TestOpenFileIsARecording(t *testing.T) {
	v := open(t, Options{Dir: t.TempDir()})
	e := put(t, v, "x", Periodic, snapshot(time.Now(), 3))
	f, got, err := v.Open("x", e.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != e.Bytes || got.Key != e.Key {
		t.Fatalf("read %d bytes of %+v: %v", len(b), got, err)
	}
	recs, err := record.ReadAll(bytes.NewReader(b))
	if err != nil || len(recs) != 1 || recs[0].Truncated != "" || len(recs[0].Profiles) != 1 {
		t.Errorf("the file is %+v, %v", recs, err)
	}
}

func TestRefusals(t *testing.T) {
	v := open(t, Options{Dir: t.TempDir(), PerProcess: leastShare})
	for name, tt := range map[string]struct {
		process string
		rec     *record.Recording
	}{
		"parent":    {"..", snapshot(noon, 1)},
		"slash":     {"a/b", snapshot(noon, 1)},
		"empty":     {"", snapshot(noon, 1)},
		"nothing":   {"x", &record.Recording{}},
		"nil":       {"x", nil},
		"tilde":     {"x~2", snapshot(noon, 1)},
		"too long":  {strings.Repeat("x", 200), snapshot(noon, 1)},
		"too large": {"x", snapshot(noon, 20_000)},
	} {
		if _, err := v.Put(tt.process, Periodic, tt.rec); err == nil {
			t.Errorf("%s: it was put", name)
		}
	}
	var large *TooLargeError
	if _, err := v.Put("x", Periodic, snapshot(noon, 20_000)); !errors.As(err, &large) {
		t.Errorf("a snapshot of more than its share: %v", err)
	}
	var missing *NotFoundError
	if _, err := v.Get("x", "../../etc/passwd"); !errors.As(err, &missing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is none: %v", err)
	}
	if got := v.List("", time.Time{}, time.Time{}); len(got) != 0 {
		t.Errorf("what was refused is listed: %+v", got)
	}
	if s := v.Stats(); s.Failed != 9 || s.Bytes != 0 {
		t.Errorf("Stats are %+v", s)
	}
}

// TestBounds puts snapshots of random sizes of processes that are busy, and of one that
// is not: the bounds hold after each, and the quiet one loses nothing.
func TestBounds(t *testing.T) {
	now := noon
	o := Options{Dir: t.TempDir(), MaxBytes: 600 << 10, PerProcess: 300 << 10, Now: at(&now)}
	v := open(t, o)
	r := rand.New(rand.NewPCG(1, 2))
	quiet := put(t, v, "quiet", Periodic, snapshot(now, 100))
	for range 150 {
		now = now.Add(time.Duration(r.IntN(5)) * time.Second)
		reason := Periodic
		if r.IntN(3) == 0 {
			reason = "finding"
		}
		e := put(t, v, fmt.Sprintf("busy%d", r.IntN(3)), reason, snapshot(now, 1+r.IntN(900)))
		if s := v.Stats(); s.Bytes > o.MaxBytes {
			t.Fatalf("there are %d bytes, of at most %d", s.Bytes, o.MaxBytes)
		}
		sum := map[string]int64{}
		found := false
		for _, have := range v.List("", time.Time{}, time.Time{}) {
			sum[have.Process] += have.Bytes
			found = found || have.Process == e.Process && have.Key == e.Key
		}
		for p, n := range sum {
			if n > o.PerProcess {
				t.Fatalf("%s has %d bytes, of at most %d", p, n, o.PerProcess)
			}
		}
		if !found {
			t.Fatalf("what was put just now is not there: %+v", e)
		}
	}
	if _, err := v.Get("quiet", quiet.Key); err != nil {
		t.Errorf("the snapshot of a process that has one is gone: %v", err)
	}
	var disk int64
	filepath.WalkDir(o.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			disk += info.Size()
		}
		return nil
	})
	if s := v.Stats(); disk != s.Bytes || s.Evicted == 0 {
		t.Errorf("there are %d bytes on disk, and Stats are %+v", disk, s)
	}
}

// TestManyReasons: who gives reasons all the time keeps some of what lies in between.
func TestManyReasons(t *testing.T) {
	now := noon
	v := open(t, Options{Dir: t.TempDir(), MaxBytes: 1 << 20, PerProcess: 512 << 10, Now: at(&now)})
	for i := range 200 {
		now = now.Add(time.Second)
		reason := "flap"
		if i%10 == 0 {
			reason = Periodic
		}
		put(t, v, "x", reason, snapshot(now, 500))
	}
	counts := map[string]int{}
	for _, e := range v.List("x", time.Time{}, time.Time{}) {
		counts[e.Reason]++
	}
	if counts[Periodic] < 5 || counts["flap"] < 5 {
		t.Errorf("what stayed is %v", counts)
	}
}

// TestSparse thins after each of nine days of snapshots a minute apart.
func TestSparse(t *testing.T) {
	var all []Entry
	now := noon
	const maxAge = 7 * 24 * time.Hour
	thin := func() {
		drop := map[int]bool{}
		for _, i := range sparse(all, now, maxAge) {
			drop[i] = true
		}
		var left []Entry
		for i, e := range all {
			if !drop[i] {
				left = append(left, e)
			}
		}
		all = left
		if again := sparse(all, now, maxAge); len(again) != 0 {
			t.Fatalf("thinning what is thin drops %d of %d", len(again), len(all))
		}
	}
	for i := range 9 * 24 * 60 {
		now = now.Add(time.Minute)
		e := Entry{Time: now, Reason: Periodic}
		if i%1000 == 0 {
			e.Reason = "finding"
		}
		all = append(all, e)
		thin()
	}
	count := map[string]int{}
	for i, e := range all {
		age := now.Sub(e.Time)
		switch {
		case e.Reason != Periodic:
			count["reason"]++
		case age <= denseFor:
			count["dense"]++
		case age <= tenFor:
			count["ten"]++
		default:
			count["hour"]++
		}
		if age > maxAge {
			t.Errorf("%d is %v old", i, age)
		}
	}
	want := map[string][2]int{"reason": {9, 11}, "dense": {58, 61}, "ten": {143, 146}, "hour": {140, 145}}
	for k, bounds := range want {
		if n := count[k]; n < bounds[0] || n > bounds[1] {
			t.Errorf("there are %d of %s, want %v", n, k, bounds)
		}
	}
}

// TestSparseAnyClock: whatever times there are, thinning drops what it says, ends, and
// never the newest of the last hour.
func TestSparseAnyClock(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var all []Entry
		at := noon.Add(-time.Duration(r.IntN(400)) * time.Hour)
		for range r.IntN(100) {
			at = at.Add(time.Duration(r.IntN(400)) * time.Minute)
			all = append(all, Entry{Time: at, Reason: []string{Periodic, "x"}[r.IntN(2)]})
		}
		drop := sparse(all, noon, 100*time.Hour)
		last := -1
		for _, i := range drop {
			if i <= last || i >= len(all) {
				t.Fatalf("it drops %v of %d", drop, len(all))
			}
			last = i
			if age := noon.Sub(all[i].Time).Abs(); age <= denseFor || all[i].Reason != Periodic && age <= 100*time.Hour {
				t.Fatalf("it drops %+v, of age %v", all[i], age)
			}
		}
		if len(all) > 0 {
			if i := victim(all, noon, 0); i < 0 || i >= len(all) {
				t.Fatalf("the victim is %d of %d", i, len(all))
			}
		}
	}
}

func TestAgeAndClock(t *testing.T) {
	now := noon
	dir := t.TempDir()
	v := open(t, Options{Dir: dir, MaxAge: 24 * time.Hour, Now: at(&now)})
	put(t, v, "x", "finding", snapshot(noon, 1))
	now = noon.Add(25 * time.Hour)
	put(t, v, "x", Periodic, snapshot(now, 1))
	if got := v.List("x", time.Time{}, time.Time{}); len(got) != 1 || !got[0].Time.Equal(now) {
		t.Errorf("after a day there are %+v", got)
	}
	// The clock is set back by two days: what is of the future by so much goes by how
	// wrong it is.
	now = noon.Add(-24 * time.Hour)
	put(t, v, "x", Periodic, snapshot(now, 1))
	if got := v.List("x", time.Time{}, time.Time{}); len(got) != 1 || !got[0].Time.Equal(now) {
		t.Errorf("after the clock was set back there are %+v", got)
	}
	// A process of which the last snapshot is gone leaves no directory behind.
	now = noon.Add(48 * time.Hour)
	v.Close()
	open(t, Options{Dir: dir, MaxAge: 24 * time.Hour, Now: at(&now)})
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("there is left %v, %v", names, err)
	}
}

func TestConcurrent(t *testing.T) {
	v := open(t, Options{Dir: t.TempDir(), MaxBytes: 256 << 10})
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			id := fmt.Sprintf("p%d", p)
			for i := range 10 {
				if _, err := v.Put(id, Periodic, snapshot(time.Now(), 200+i)); err != nil {
					t.Error(err)
				}
				all := v.List("", time.Time{}, time.Time{})
				for _, e := range all[:min(3, len(all))] {
					if _, err := v.Get(e.Process, e.Key); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
				}
				v.Stats()
			}
		})
	}
	wg.Wait()
}
