package keeper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

func testHeader(t testing.TB) header {
	t.Helper()
	boot, err := procmem.BootID()
	if err != nil {
		t.Skipf("needs Linux: %v", err)
	}
	return header{BootID: boot, Plan: "p", Tool: owner{"t", 1 << 30, 1}, Keeper: owner{"t", 1<<30 + 1, 1}, PID: 1 << 30, Start: 7, Name: "x"}
}

func ids(steps []fault.Step) []int {
	out := []int{}
	for _, s := range steps {
		out = append(out, s.ID)
	}
	return out
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := newJournal(dir, testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	for id := 1; id <= 4; id++ {
		if err := j.Will(fault.Step{ID: id, Kind: fault.StepFile, Path: "/x", Old: "1", New: "2"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Will(fault.Step{ID: 2}); err == nil {
		t.Error("two steps have one ID")
	}
	for _, id := range []int{2, 9} { // the second is none of its steps
		if err := j.Undone(fault.Step{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	want := []int{4, 3, 1}
	if got := ids(j.open()); !slices.Equal(got, want) {
		t.Errorf("open are %v", got)
	}
	h, steps, err := readJournal(j.path)
	if err != nil || h.Plan != "p" || !slices.Equal(ids(steps), want) {
		t.Errorf("on disk are %v of %+v, %v", ids(steps), h, err)
	}
	// Written anew it says the same, and goes on.
	if err := j.rewrite(); err != nil {
		t.Fatal(err)
	}
	if err := j.Will(fault.Step{ID: 5}); err != nil {
		t.Fatal(err)
	}
	if _, steps, err = readJournal(j.path); err != nil || !slices.Equal(ids(steps), []int{5, 4, 3, 1}) {
		t.Errorf("then there are %v, %v", ids(steps), err)
	}
	// What was cut off is not done.
	text, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, steps, err := parseJournal(text[:len(text)-5]); err != nil || !slices.Equal(ids(steps), []int{4, 3, 1}) {
		t.Errorf("cut off there are %v, %v", ids(steps), err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
	if err := j.Will(fault.Step{ID: 6}); err == nil {
		t.Error("a journal that is closed takes a step")
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("%v is left", entries)
	}
}

func TestParseJournalRefuses(t *testing.T) {
	head := `{"schema":"heapwright-stress-journal/1","boot_id":"b","pid":5,"start_ticks":7}` + "\n"
	if _, steps, err := parseJournal([]byte(head)); err != nil || len(steps) > 0 {
		t.Errorf("%v, %v", steps, err)
	}
	for _, bad := range []string{
		"", "{}", "{}\n", head[:len(head)-1], strings.Replace(head, "/1", "/2", 1), strings.Replace(head, `"pid":5`, `"pid":0`, 1),
		head + `{"will":{"id":1}}` + "\n" + `{"will":{"id":1}}` + "\n",
	} {
		if _, _, err := parseJournal([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzJournal(f *testing.F) {
	head := `{"schema":"heapwright-stress-journal/1","boot_id":"b","pid":5,"start_ticks":7}` + "\n"
	f.Add([]byte(head + `{"will":{"id":1,"kind":"file","path":"/x","old":"1","new":"2"}}` + "\n" + `{"undone":1}` + "\n"))
	f.Add([]byte(head + "{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, steps, err := parseJournal(text)
		if err != nil {
			return
		}
		if h.PID <= 0 || len(steps) > maxSteps || len(h.Plan) > maxText {
			t.Errorf("%+v with %d steps", h, len(steps))
		}
		seen := map[int]bool{}
		for _, s := range steps {
			if seen[s.ID] {
				t.Errorf("step %d is there twice", s.ID)
			}
			seen[s.ID] = true
		}
	})
}

// plainFiles has steps be of any files.
func plainFiles(t *testing.T) {
	t.Cleanup(func() { revert = fault.Revert })
	revert = func(ctx context.Context, s fault.Step) error {
		if s.Kind != fault.StepFile {
			return fault.Revert(ctx, s)
		}
		text, err := os.ReadFile(s.Path)
		switch have := string(text); {
		case err != nil || have == s.Old:
			return err
		case have != s.New && have != s.Was:
			return &fault.ChangedError{What: s.Path, Old: s.Old, Ours: s.New, Have: have}
		}
		return os.WriteFile(s.Path, []byte(s.Old), 0o600)
	}
}

// TestTornJournal: a line that a full disk has cut off does not take the next with it.
func TestTornJournal(t *testing.T) {
	j, err := newJournal(t.TempDir(), testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.Will(fault.Step{ID: 1}); err != nil {
		t.Fatal(err)
	}
	// Half of a line is there, and no more could be written.
	if _, err := j.f.WriteString(`{"will":{"id":2,"ki`); err != nil {
		t.Fatal(err)
	}
	ours := j.f
	if j.f, err = os.Open(j.path); err != nil { // cannot be written to
		t.Fatal(err)
	}
	if err := j.Will(fault.Step{ID: 3}); err == nil {
		t.Fatal("a step is noted that could not be written")
	}
	if err := j.Undone(fault.Step{ID: 1}); err != nil {
		t.Errorf("what is undone is not: %v", err)
	}
	j.f.Close()
	j.f = ours
	if err := j.Will(fault.Step{ID: 4}); err != nil {
		t.Fatal(err)
	}
	if _, steps, err := readJournal(j.path); err != nil || !slices.Equal(ids(steps), []int{4}) {
		t.Errorf("on disk are %v, %v", ids(steps), err)
	}
}

// TestPlanted: a journal that others could have written, or that is none, is not read.
func TestPlanted(t *testing.T) {
	dir := t.TempDir()
	j, err := newJournal(dir, testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Will(fault.Step{ID: 1, Kind: fault.StepRemove, Path: "/nowhere"}); err != nil {
		t.Fatal(err)
	}
	j.close()
	whole := j.path + ".aside"
	if err := os.Rename(j.path, whole); err != nil {
		t.Fatal(err)
	}
	for what, plant := range map[string]func() error{
		"a link": func() error { return os.Symlink(whole, j.path) },
		"a pipe": func() error { return syscall.Mkfifo(j.path, 0o600) },
		"others may write": func() error {
			if err := os.WriteFile(j.path, nil, 0o600); err != nil {
				return err
			}
			return os.Chmod(j.path, 0o666)
		},
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if _, steps, err := readJournal(j.path); err == nil || len(steps) > 0 {
			t.Errorf("%s: %v is read", what, steps)
		}
		os.Remove(j.path)
	}
	// Where the log is to be there is a link to somebody's file.
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(theirs, filepath.Join(dir, logName)); err != nil {
		t.Fatal(err)
	}
	if l, err := openLog(dir); err == nil {
		l.close()
		t.Error("the log is written through a link")
	}
}

// TestSweep undoes what is left of those that are gone, and nothing else.
func TestSweep(t *testing.T) {
	plainFiles(t)
	file := func(dir, value string) string {
		name := filepath.Join(dir, "limit")
		if err := os.WriteFile(name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	self, err := ourselves("test")
	if err != nil {
		t.Skipf("needs Linux: %v", err)
	}
	tests := []struct {
		name      string
		change    func(*header)
		value     string // of the file now
		want      string // of it afterwards
		stays, ok bool
		said      int
	}{
		{"gone", func(*header) {}, "2", "1", false, true, 1},
		{"undone already", func(*header) {}, "1", "1", false, true, 1},
		{"changed by others", func(*header) {}, "9", "9", false, true, 1},
		{"the tool lives", func(h *header) { h.Tool = self }, "2", "2", true, true, 0},
		{"the keeper lives", func(h *header) { h.Keeper = self }, "2", "2", true, true, 0},
		{"another process has its number", func(h *header) { h.Tool = self; h.Tool.StartTicks++ }, "2", "1", false, true, 1},
		{"of another boot", func(h *header) { h.BootID = "another" }, "2", "2", false, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, values := t.TempDir(), t.TempDir()
			name := file(values, tt.value)
			h := testHeader(t)
			tt.change(&h)
			j, err := newJournal(dir, h)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Will(fault.Step{ID: 1, Kind: fault.StepFile, Path: name, Old: "1", Was: "1", New: "2"}); err != nil {
				t.Fatal(err)
			}
			j.close()
			put, err := Sweep(t.Context(), dir)
			if (err == nil) != tt.ok || len(put) != tt.said {
				t.Errorf("it says %q, %v", put, err)
			}
			if text, _ := os.ReadFile(name); string(text) != tt.want {
				t.Errorf("the file has %q", text)
			}
			if _, err := os.Lstat(j.path); missing(err) == tt.stays {
				t.Errorf("of the journal: %v", err)
			}
			if again, err := Sweep(t.Context(), dir); len(again) > 0 || err != nil {
				t.Errorf("again it says %q, %v", again, err)
			}
		})
	}
	t.Run("what cannot be undone stays on record", func(t *testing.T) {
		dir := t.TempDir()
		j, err := newJournal(dir, testHeader(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Will(fault.Step{ID: 1, Kind: "of a later release"}); err != nil {
			t.Fatal(err)
		}
		j.close()
		for range 2 {
			if put, err := Sweep(t.Context(), dir); err == nil || len(put) > 0 {
				t.Errorf("it says %q, %v", put, err)
			}
		}
	})
	t.Run("others could have written it", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := Sweep(t.Context(), dir); err == nil {
			t.Error("it is trusted")
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if put, err := Sweep(t.Context(), filepath.Join(t.TempDir(), "none")); err != nil || len(put) > 0 {
			t.Errorf("it says %q, %v", put, err)
		}
	})
}

func TestLock(t *testing.T) {
	self, err := ourselves("test")
	if err != nil {
		t.Skipf("needs Linux: %v", err)
	}
	name := filepath.Join(t.TempDir(), "x"+lockDots)
	l, err := takeLock(name, "process 5", holder{self, "mine"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(name, "process 5", holder{self, "yours"})
	busy := new(BusyError)
	if !errors.As(err, &busy) || busy.PID != self.PID || busy.Plan != "mine" || busy.What != "process 5" {
		t.Fatalf("a second has it: %v", err)
	}
	dropIdle(name)
	if _, err := os.Lstat(name); err != nil {
		t.Error("a lock that is held is dropped")
	}
	l.release()
	if l, err = takeLock(name, "process 5", holder{self, "yours"}); err != nil {
		t.Fatal(err)
	}
	l.f.Close() // as when it is killed
	dropIdle(name)
	if _, err := os.Lstat(name); !missing(err) {
		t.Error("a lock that nobody has stays")
	}
}

func TestRevertGroups(t *testing.T) {
	plainFiles(t)
	// Steps on one file are undone in their order, the last first.
	name := filepath.Join(t.TempDir(), "limit")
	if err := os.WriteFile(name, []byte("3"), 0o600); err != nil {
		t.Fatal(err)
	}
	put, left := revertSteps(context.Background(), []fault.Step{
		{ID: 2, Kind: fault.StepFile, Path: name, Old: "1", Was: "2", New: "3"},
		{ID: 1, Kind: fault.StepFile, Path: name, Old: "1", Was: "1", New: "2"},
	})
	if text, _ := os.ReadFile(name); string(text) != "1" || len(left) > 0 || len(put) != 2 {
		t.Errorf("the file has %q: %q, %q", text, put, left)
	}
}

func TestPlaces(t *testing.T) {
	getenv := func(kv ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == name {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	if dir, state, err := Places(getenv("HEAPWRIGHT_STATE_DIR", "/a")); dir != "/a/stress" || state != "/a" || err != nil {
		t.Errorf("%s, %s, %v", dir, state, err)
	}
	if _, _, err := Places(getenv("HEAPWRIGHT_STATE_DIR", "a")); err == nil {
		t.Error("a path that is not absolute is taken")
	}
}
