package history

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string, maxBytes int64) *History {
	t.Helper()
	h, err := Open(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func finding(id string, s diagnose.Severity, title string) diagnose.Finding {
	return diagnose.Finding{
		ID: id, Severity: s, Confidence: "medium", Title: title, Cause: "cause", Remedy: "remedy",
		Evidence: []diagnose.Evidence{{Name: "x_bytes", Value: 1, Unit: "bytes", Source: "test", Text: "1 B"}},
	}
}

func titles(all []Episode) string {
	var out []string
	for _, e := range all {
		state := "open"
		if !e.Ended.IsZero() {
			state = "ended"
		}
		out = append(out, fmt.Sprintf("%s %s %s %s", e.Process, e.ID, e.Severity, state))
	}
	return strings.Join(out, ", ")
}

func TestEpisode(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	now := noon
	step := func(findings ...diagnose.Finding) (string, string) {
		now = now.Add(10 * time.Second)
		began, ended := h.Diagnosed("x", now, findings)
		return titles(began), titles(ended)
	}
	warning := finding("HW1", diagnose.Warning, "warning")
	critical := finding("HW1", diagnose.Critical, "critical")
	for i, tt := range []struct {
		findings     []diagnose.Finding
		began, ended string
	}{
		{nil, "", ""},
		{[]diagnose.Finding{warning}, "x HW1 warning open", ""},
		{[]diagnose.Finding{warning}, "", ""},
		{[]diagnose.Finding{critical, warning}, "", ""}, // two of one rule: the worst counts
		{[]diagnose.Finding{warning}, "", ""},
		{nil, "", ""},
		{nil, "", ""},
		{[]diagnose.Finding{warning}, "", ""}, // twice without it is no end
		{nil, "", ""},
		{nil, "", ""},
		{[]diagnose.Finding{finding("HW2", diagnose.Info, "info")}, "x HW2 info open", "x HW1 critical ended"},
	} {
		if began, ended := step(tt.findings...); began != tt.began || ended != tt.ended {
			t.Errorf("step %d: began %q, ended %q; want %q, %q", i, began, ended, tt.began, tt.ended)
		}
	}
	all := h.Episodes(Query{})
	if got := titles(all); got != "x HW2 info open, x HW1 critical ended" {
		t.Fatalf("Episodes are %s", got)
	}
	e := all[1]
	want := []Change{{noon.Add(40 * time.Second), diagnose.Critical}, {noon.Add(50 * time.Second), diagnose.Warning}}
	if e.Finding.Title != "critical" || !e.Began.Equal(noon.Add(20*time.Second)) || !e.Ended.Equal(noon.Add(80*time.Second)) || !reflect.DeepEqual(e.Changes, want) {
		t.Errorf("the episode is %+v", e)
	}
	if got := titles(h.Episodes(Query{Open: true})); got != "x HW2 info open" {
		t.Errorf("open are %s", got)
	}
}

// TestFlapping diagnoses what comes and goes for an hour.
func TestFlapping(t *testing.T) {
	for period := 1; period < 30; period++ {
		h := open(t, t.TempDir(), 0)
		began := 0
		for i := range 360 {
			var f []diagnose.Finding
			if i/period%2 == 0 {
				f = append(f, finding("HW1", diagnose.Warning, ""))
			}
			b, _ := h.Diagnosed("x", noon.Add(time.Duration(i)*10*time.Second), f)
			began += len(b)
		}
		if n := len(h.Episodes(Query{})); began != 1 || n != 1 {
			t.Errorf("on and off every %d0 s: %d episodes began, and %d are there", period, began, n)
		}
		h.Close()
	}
}

func TestReturnAfterLong(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	f := []diagnose.Finding{finding("HW1", diagnose.Warning, "")}
	h.Diagnosed("x", noon, f)
	for i := range 3 {
		h.Diagnosed("x", noon.Add(time.Duration(i+1)*10*time.Second), nil)
	}
	b, _ := h.Diagnosed("x", noon.Add(5*time.Minute), f)
	if len(b) != 0 {
		t.Errorf("after five minutes another began")
	}
	if all := h.Episodes(Query{}); len(all) != 1 || all[0].Returns != 1 || !all[0].Ended.IsZero() {
		t.Errorf("Episodes are %+v", all)
	}
	for i := range 3 {
		h.Diagnosed("x", noon.Add(5*time.Minute+time.Duration(i+1)*10*time.Second), nil)
	}
	if b, _ := h.Diagnosed("x", noon.Add(20*time.Minute), f); len(b) != 1 {
		t.Error("after a quarter of an hour it went on with the old one")
	}
	if n := len(h.Episodes(Query{})); n != 2 {
		t.Errorf("there are %d episodes", n)
	}
}

func TestEndOfProcess(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	f := []diagnose.Finding{finding("HW1", diagnose.Warning, "")}
	h.Diagnosed("x", noon, f)
	h.Diagnosed("y", noon, f)
	if err := h.Event("x", record.Event{Time: noon.Add(time.Second), Kind: record.EventExited, Text: "exit status 2"}); err != nil {
		t.Fatal(err)
	}
	if got := titles(h.Episodes(Query{Open: true})); got != "y HW1 warning open" {
		t.Errorf("after x has ended there are open %s", got)
	}
	// Nobody hears of y any more.
	_, ended := h.Diagnosed("z", noon.Add(2*time.Hour), nil)
	if got := titles(ended); got != "y HW1 warning ended" || !ended[0].Ended.Equal(noon) {
		t.Errorf("after two hours of silence %s ended", got)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	f := []diagnose.Finding{finding("HW1", diagnose.Warning, "it")}
	h.Diagnosed("x", noon, f)
	h.Diagnosed("x", noon.Add(11*time.Minute), f) // of this there is a line
	h.Diagnosed("y", noon.Add(11*time.Minute), f)
	for i := range 3 {
		h.Diagnosed("y", noon.Add(11*time.Minute+time.Duration(i)*time.Second), nil)
	}
	e := record.Event{Time: noon, Kind: record.EventSettingChanged, Text: "GOGC", Data: map[string]string{"from": "100", "to": "200"}}
	if err := h.Event("x", e); err != nil {
		t.Fatal(err)
	}
	before, events := h.Episodes(Query{}), h.Events(Query{})
	// It is not closed: it was killed. The next one reads what there is.
	again := open(t, dir, 0)
	if got := again.Episodes(Query{}); !reflect.DeepEqual(got, before) {
		t.Errorf("there are\n%+v, before\n%+v", got, before)
	}
	if got := again.Events(Query{}); !reflect.DeepEqual(got, events) || len(got) != 1 || !reflect.DeepEqual(got[0].Event, e) {
		t.Errorf("there are %+v, before %+v", got, events)
	}
	if b, _ := again.Diagnosed("x", noon.Add(12*time.Minute), f); len(b) != 0 {
		t.Error("the open episode did not go on")
	}
	if b, _ := again.Diagnosed("y", noon.Add(12*time.Minute), f); len(b) != 0 {
		t.Error("one that had ended a minute ago did not go on")
	}
}

func TestQueries(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	for i := range 10 {
		at := noon.Add(time.Duration(i) * time.Hour)
		for _, p := range []string{"x", "y"} {
			h.Diagnosed(p, at, []diagnose.Finding{finding("HW1", diagnose.Warning, "")})
			if err := h.Event(p, record.Event{Time: at, Kind: record.EventGap}); err != nil {
				t.Fatal(err)
			}
		}
		for j := range 3 {
			for _, p := range []string{"x", "y"} {
				h.Diagnosed(p, at.Add(time.Duration(j+1)*time.Minute), nil)
			}
		}
	}
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	for _, tt := range []struct {
		q    Query
		want int
	}{
		{Query{}, 20},
		{Query{Process: "x"}, 10},
		{Query{Process: "z"}, 0},
		{Query{From: hour(8)}, 4},
		{Query{To: hour(1)}, 4},
		{Query{From: hour(2).Add(time.Minute), To: hour(3).Add(-time.Minute)}, 0},
		{Query{Process: "y", From: hour(2), To: hour(4)}, 3},
		{Query{Limit: 5}, 5},
	} {
		if got := h.Episodes(tt.q); len(got) != tt.want {
			t.Errorf("%+v: %d episodes, want %d", tt.q, len(got), tt.want)
		}
		if got := h.Events(tt.q); len(got) != tt.want {
			t.Errorf("%+v: %d events, want %d", tt.q, len(got), tt.want)
		}
	}
	if got := h.Episodes(Query{Limit: 1}); !got[0].Began.Equal(hour(9)) {
		t.Errorf("the newest episode is %+v", got)
	}
	if got := h.Events(Query{Limit: 1}); !got[0].Time.Equal(hour(9)) {
		t.Errorf("the newest event is %+v", got)
	}
	if got := h.Episodes(Query{Open: true}); len(got) != 0 {
		t.Errorf("open are %+v", got)
	}
}

// TestSizeBound writes for a long time: the files stay within the bound, what is open
// is never lost, and one process with many events does not push out another's.
func TestSizeBound(t *testing.T) {
	dir := t.TempDir()
	const most = leastBytes
	h := open(t, dir, most)
	h.Diagnosed("lasting", noon, []diagnose.Finding{finding("HW9", diagnose.Critical, "it lasts")})
	if err := h.Event("quiet", record.Event{Time: noon.Add(150 * time.Hour), Kind: record.EventOOMKill}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	dropped := 0
	for i := range 3000 {
		at := noon.Add(time.Duration(i) * 15 * time.Minute)
		long := strings.Repeat("<", r.IntN(3000)) // each is six bytes in JSON
		h.Diagnosed("busy", at, []diagnose.Finding{finding(fmt.Sprintf("HW%d", i%7), diagnose.Warning, long)})
		if i%2 == 0 {
			h.Diagnosed("lasting", at, []diagnose.Finding{finding("HW9", diagnose.Warning, "")})
		}
		if err := h.Event("busy", record.Event{Time: at, Kind: record.EventGap, Text: long}); err != nil {
			t.Fatal(err)
		}
		if s := h.Stats(); s.Bytes > most {
			t.Fatalf("there are %d bytes, of at most %d", s.Bytes, most)
		}
	}
	at := noon.Add(3000 * 15 * time.Minute)
	if err := h.Event("quiet", record.Event{Time: at, Kind: record.EventOOMKill}); err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		if err := h.Event("noisy", record.Event{Time: at, Kind: record.EventLostCycles}); errors.Is(err, ErrTooMany) {
			dropped++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got := h.Events(Query{Process: "quiet"}); len(got) == 0 || dropped != 20_000-eventsAnHour {
		t.Errorf("of the quiet process there are %+v; of the noisy one %d were dropped", got, dropped)
	}
	h.Close()

	var disk int64
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil {
			t.Fatal(err)
		}
		disk += info.Size()
	}
	if disk > most || len(names) > 2*(segments+2) {
		t.Errorf("there are %d bytes in %d files, of at most %d", disk, len(names), most)
	}
	h = open(t, dir, most)
	got := h.Episodes(Query{Process: "lasting"})
	if len(got) != 1 || !got[0].Began.Equal(noon) || got[0].Finding.Title != "it lasts" {
		t.Errorf("the episode that was open all the time is %+v", got)
	}
	// A smaller bound holds from the start; but there is a least one.
	for range 2 {
		h.Close()
		h = open(t, dir, 1)
		if s := h.Stats(); s.Bytes > leastBytes || s.Open == 0 {
			t.Errorf("Stats are %+v", s)
		}
	}
}

func TestNonsense(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	f := finding(strings.Repeat("x", 1000), 77, "\xff"+strings.Repeat("é", 5000))
	f.Evidence = append(f.Evidence, diagnose.Evidence{Name: "n", Value: math.NaN()})
	if b, _ := h.Diagnosed("x", noon, []diagnose.Finding{f}); len(b) != 0 {
		t.Errorf("an ID of 1,000 bytes began %+v", b)
	}
	f.ID = "HW1"
	for range 200 {
		f.Evidence = append(f.Evidence, diagnose.Evidence{Name: strings.Repeat("\x00", 500), Text: strings.Repeat("\x01", 500)})
		f.Sites = append(f.Sites, diagnose.Site{Func: strings.Repeat("<", 5000)})
	}
	b, _ := h.Diagnosed("x", noon, []diagnose.Finding{f})
	if len(b) != 1 || len(b[0].Finding.Evidence) > maxEvidence {
		t.Fatalf("it began %d", len(b))
	}
	for i := range 3 {
		h.Diagnosed("x", noon.Add(time.Duration(i)*time.Hour), nil)
	}
	if got := h.Episodes(Query{}); len(got) != 1 || got[0].Severity != diagnose.Critical {
		t.Errorf("on disk there is %s", titles(got))
	}
	if s := h.Stats(); s.Failed != 0 || s.Episodes != 1 {
		t.Errorf("Stats are %+v", s)
	}
	if err := h.Event("", record.Event{Time: noon, Kind: "x"}); err == nil {
		t.Error("an event of no process was kept")
	}
	if err := h.Event("x", record.Event{Kind: "x"}); err == nil {
		t.Error("an event of no time was kept")
	}
	h.Close()
	if err := h.Event("x", record.Event{Time: noon, Kind: "x"}); err == nil {
		t.Error("an event was kept after Close")
	}
	h.Diagnosed("x", noon, []diagnose.Finding{finding("HW2", 0, "")})
	h.Episodes(Query{})
	h.Events(Query{})
}

// TestManyShortProcesses: hundreds of programs that start and end push out no finding.
func TestManyShortProcesses(t *testing.T) {
	h := open(t, t.TempDir(), leastBytes)
	h.Diagnosed("x", noon, []diagnose.Finding{finding("HW1", diagnose.Warning, "it")})
	for i := range 3 {
		h.Diagnosed("x", noon.Add(time.Duration(i+1)*time.Second), nil)
	}
	for i := range 20_000 {
		e := record.Event{Time: noon.Add(time.Duration(i) * time.Second), Kind: record.EventStarted, Text: "observation began"}
		if err := h.Event(fmt.Sprintf("compile:%d", i%300), e); err != nil && !errors.Is(err, ErrTooMany) {
			t.Fatal(err)
		}
	}
	if s := h.Stats(); s.Events < 1000 || s.Bytes > leastBytes {
		t.Errorf("Stats are %+v", s)
	}
	if got := titles(h.Episodes(Query{})); got != "x HW1 warning ended" {
		t.Errorf("Episodes are %s", got)
	}
}

func TestConcurrent(t *testing.T) {
	h := open(t, t.TempDir(), leastBytes)
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			id := fmt.Sprintf("p%d", p)
			for i := range 50 {
				at := noon.Add(time.Duration(i) * time.Minute)
				h.Diagnosed(id, at, []diagnose.Finding{finding("HW1", diagnose.Severity(i%3), "")})
				if err := h.Event(id, record.Event{Time: at, Kind: record.EventGap}); err != nil {
					t.Error(err)
				}
				h.Episodes(Query{})
				h.Events(Query{Limit: 10})
				h.Stats()
			}
		})
	}
	wg.Wait()
}

// TestTamperedDirectory opens a history in which lines were cut, changed and put in.
func TestTamperedDirectory(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	h.Diagnosed("x", noon, []diagnose.Finding{finding("HW1", diagnose.Warning, "")})
	if err := h.Event("x", record.Event{Time: noon, Kind: record.EventGap}); err != nil {
		t.Fatal(err)
	}
	h.Close()
	findings, events := filepath.Join(dir, segmentName("findings", 1)), filepath.Join(dir, segmentName("events", 1))
	b, err := os.ReadFile(findings)
	if err != nil {
		t.Fatal(err)
	}
	be, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte("secret"), 0o600))
	must(os.Symlink(outside, filepath.Join(dir, segmentName("findings", 2))))
	must(os.Mkdir(filepath.Join(dir, segmentName("events", 3)), 0o700))
	must(os.WriteFile(filepath.Join(dir, "findings-99999999999999999999.jsonl"), b, 0o600))
	must(os.WriteFile(filepath.Join(dir, "findings-7.jsonl"), b, 0o600))
	nonsense := string(b) + "\n{}\nnull\n[]\n" + strings.Repeat("x", 3*maxLine) + "\n" +
		`{"kind":"episode","episode":{"process":"x","id":"HW1","began":"0001-01-01T00:00:00Z"}}` + "\n" +
		`{"kind":"episode","episode":{"process":"","id":"HW1","began":"2026-11-21T12:00:00Z","seen":"2026-11-21T12:00:00Z"}}` + "\n" +
		`{"kind":"seen","seen":{"process":"x","id":"none","began":"2026-11-21T12:00:00Z","seen":"2026-11-21T12:00:00Z"}}` + "\n" +
		`{"kind":"of the future"}` + "\n" + string(b[:len(b)-20])
	must(os.WriteFile(findings, []byte(nonsense), 0o600))
	nonsense = string(be) + `{"kind":"event","event":{"process":"x","time":"9999-11-21T12:00:00Z","event":"gap"}}` + "\n" + string(be[:len(be)-20])
	must(os.WriteFile(events, []byte(nonsense), 0o600))

	h = open(t, dir, 0)
	// What was cut off at the end is gone.
	if got := titles(h.Episodes(Query{})); got != "x HW1 warning open" {
		t.Errorf("Episodes are %s", got)
	}
	if got := h.Events(Query{}); len(got) != 1 {
		t.Errorf("Events are %+v", got)
	}
	if s := h.Stats(); s.Skipped != 11 {
		t.Errorf("%d lines were skipped", s.Skipped)
	}
	if err := h.Event("x", record.Event{Time: noon.Add(time.Second), Kind: record.EventOOMKill}); err != nil {
		t.Fatal(err)
	}
	h.Close()
	h = open(t, dir, 0)
	if got := h.Events(Query{}); len(got) != 2 {
		t.Errorf("after the torn line there are %+v", got)
	}
	if got, _ := os.ReadFile(outside); string(got) != "secret" {
		t.Errorf("the file outside was changed: %q", got)
	}
	// The file is cut while it is open: what cannot be read is left out.
	must(os.Truncate(events, 10))
	h.Episodes(Query{})
	if got := h.Events(Query{}); len(got) != 0 {
		t.Errorf("of a file that was cut there are %+v", got)
	}
}

// FuzzOpen opens anything as a history, and goes on writing to it.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	h := open(f, dir, 0)
	h.Diagnosed("x", noon, []diagnose.Finding{finding("HW1", diagnose.Warning, "")})
	h.Diagnosed("x", noon.Add(time.Hour/2), []diagnose.Finding{finding("HW1", diagnose.Critical, "")})
	h.Event("x", record.Event{Time: noon, Kind: record.EventGap, Data: map[string]string{"a": "b"}})
	h.Close()
	var b []byte
	for _, kind := range []string{"findings", "events"} {
		some, err := os.ReadFile(filepath.Join(dir, segmentName(kind, 1)))
		if err != nil {
			f.Fatal(err)
		}
		b = append(b, some...)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("{\"kind\":\"seen\"}\n{\"kind\":\"event\",\"event\":null}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		for _, kind := range []string{"findings", "events"} {
			if err := os.WriteFile(filepath.Join(dir, segmentName(kind, 1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h, err := Open(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := h.Episodes(Query{})
		n := len(h.Events(Query{}))
		at := noon.Add(24 * time.Hour)
		if err := h.Event("fuzz", record.Event{Time: at, Kind: record.EventGap}); err != nil {
			t.Fatal(err)
		}
		h.Close()
		if h, err = Open(dir, 0); err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if got := len(h.Events(Query{})); got != n+1 && n < maxLimit {
			t.Errorf("there were %d events, and one more makes %d", n, got)
		}
		if got := h.Episodes(Query{}); len(got) != len(before) {
			t.Errorf("there were %d episodes, and now %d", len(before), len(got))
		}
		h.Diagnosed("x", at, nil)
	})
}
