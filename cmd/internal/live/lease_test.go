package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
)

func sampleLease() *Lease {
	return &Lease{
		BootID: "b", PID: 12, StartTicks: 34, Exe: "/bin/x", Why: "because",
		Owner: Owner{Tool: "test", PID: 1, StartTicks: 2, UID: 3, User: "u", Since: time.Unix(1e9, 0).UTC()},
		Words: []Step{
			{remote.WordHeapMinimum, 0x10, 8, 4 << 20, 2 << 20},
			{remote.WordGCPercent, 0x18, 4, 100, 50},
			{remote.WordMemoryLimit, 0x20, 8, math.MaxInt64, 1 << 30},
		},
	}
}

func TestParseLease(t *testing.T) {
	good, err := sampleLease().encode()
	if err != nil {
		t.Fatal(err)
	}
	l, err := parseLease(good)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleLease()
	want.Schema = leaseSchema
	if !reflect.DeepEqual(l, want) {
		t.Errorf("read %+v, want %+v", l, want)
	}
	for _, tt := range []struct {
		name, from, to, want string
	}{
		{"another schema", leaseSchema, "heapwright-lease/2", "another kind"},
		{"no process", `"pid": 12`, `"pid": 0`, "names no process"},
		{"a process before all", `"pid": 12`, `"pid": -4`, "names no process"},
		{"an unknown word", remote.WordMemoryLimit, "runtime.allgs", `a word "runtime.allgs"`},
		{"the goal, which is never in one", remote.WordMemoryLimit, remote.WordGCPercentHeapGoal, "a word"},
		{"a word of another size", `"size": 4`, `"size": 8`, "of 8 bytes"},
		{"a word twice", remote.WordMemoryLimit, remote.WordHeapMinimum, "a word"},
		{"a negative limit", `9223372036854775807`, `9223372036854775808`, "cannot have"},
		{"a percentage below -1", `"new": 50`, `"new": 4294967294`, "cannot have"},
		{"a percentage of 8 bytes", `"new": 50`, `"new": 4294967296`, "cannot have"},
		{"half of GOGC", remote.WordGCPercent, remote.WordMutexProfileRate, "a word"},
		{"an unknown field", `"pid"`, `"pld"`, "malformed"},
		{"more behind it", "\t]\n}", "\t]\n}{}", "more follows"},
		{"a long text", "because", strings.Repeat("x", 2000), "too long"},
		{"no boot", `"boot_id": "b"`, `"boot_id": ""`, "names no process"},
	} {
		bad := bytes.Replace(good, []byte(tt.from), []byte(tt.to), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: nothing to replace", tt.name)
		}
		if _, err := parseLease(bad); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := parseLease(make([]byte, maxLease+1)); err == nil {
		t.Error("a large lease was read")
	}
}

func FuzzParseLease(f *testing.F) {
	good, err := sampleLease().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Add([]byte(`{"schema":"heapwright-lease/1","boot_id":"x","pid":1,"start_ticks":1,"words":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseLease(data)
		if err != nil {
			return
		}
		for _, w := range l.Words {
			if undoable[w.Symbol] != w.Size {
				t.Fatalf("word %+v was let through", w)
			}
		}
		again, err := l.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseLease(again); err != nil && len(again) <= maxLease {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}

func TestLeaseFiles(t *testing.T) {
	h := testHost(t.TempDir())
	boot, err := procmem.BootID()
	if err != nil {
		t.Skipf("no boot ID: %v", err)
	}
	own, err := h.self()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Leases(); err != nil || len(got) != 0 {
		t.Errorf("leases before there are any: %v, %v", got, err)
	}
	l := sampleLease()
	l.BootID, l.PID, l.StartTicks, l.Owner = boot, own.PID, own.StartTicks, own
	if err := h.write(l); err != nil {
		t.Fatal(err)
	}
	if got, err := h.readLease(l.PID, l.StartTicks); err != nil || !reflect.DeepEqual(got, l) {
		t.Errorf("read %+v, %v", got, err)
	}
	if l.Orphaned() {
		t.Error("a lease of this process is orphaned")
	}
	// Of another process with the number, of another boot, of one that ended.
	for _, other := range []func(*Lease){
		func(l *Lease) { l.StartTicks++ },
		func(l *Lease) { l.BootID = "another"; l.StartTicks += 2 },
		func(l *Lease) { l.PID = 1 << 30 },
	} {
		o := *l
		other(&o)
		if err := h.write(&o); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := h.Leases(); err != nil || len(got) != 1 || got[0].PID != l.PID || got[0].StartTicks != l.StartTicks {
		t.Errorf("leases %+v, %v; want this process's only", got, err)
	}
	if files, _ := os.ReadDir(h.LeaseDir); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
	// One that cannot be read does not hide the others.
	bad := filepath.Join(h.LeaseDir, "1-1.json")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Leases(); err == nil || !strings.Contains(err.Error(), bad) || len(got) != 1 {
		t.Errorf("leases beside one that is malformed: %v, %v", got, err)
	}
	l.Owner.StartTicks++
	if !l.Orphaned() {
		t.Error("a lease of a process that took over the number is not orphaned")
	}
	l.Kept = true
	if l.Orphaned() {
		t.Error("a kept lease is orphaned")
	}

	// What others may write to decides nothing.
	name := h.leaseFile(own.PID, own.StartTicks)
	if err := os.Chmod(name, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := h.readLease(own.PID, own.StartTicks); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a file for all was read: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", name); err != nil {
		t.Fatal(err)
	}
	if _, err := h.readLease(own.PID, own.StartTicks); err == nil || !strings.Contains(err.Error(), "not what it should be") {
		t.Errorf("a link was followed: %v", err)
	}
	if err := os.Chmod(h.LeaseDir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := h.write(l); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a lease was written where others may write: %v", err)
	}
}

func TestNewHost(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	h, err := NewHost(env("HEAPWRIGHT_STATE_DIR", "/x", "USER", "ada"))
	if err != nil || h.LeaseDir != "/x/leases" || h.StateDir != "/x" || h.User != "ada" || len(h.Watchdog) == 0 {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := NewHost(env("HEAPWRIGHT_STATE_DIR", "x")); err == nil {
		t.Error("a relative directory was taken")
	}
	h, err = NewHost(env("HOME", "/h", "XDG_RUNTIME_DIR", "/r", "SUDO_USER", "bob", "USER", "root"))
	want := Host{LeaseDir: "/r/heapwright", StateDir: "/h/.local/state/heapwright"}
	if os.Geteuid() == 0 { // whatever the environment says
		want = Host{LeaseDir: "/run/heapwright", StateDir: "/var/lib/heapwright"}
	}
	if err != nil || h.LeaseDir != want.LeaseDir || h.StateDir != want.StateDir || h.User != "bob" {
		t.Errorf("%+v, %v", h, err)
	}
}

func sampleEntry() Entry {
	return Entry{Time: time.Unix(1e9, 0).UTC(), Action: ActionApply, Tool: "test", UID: 3, User: "u", PID: 12, Start: 34, BootID: "b", Exe: "/bin/x", Words: sampleLease().Words, Why: "because", Outcome: "ok"}
}

func TestLog(t *testing.T) {
	h := testHost(t.TempDir())
	if entries, skipped, err := h.History(); err != nil || len(entries) != 0 || skipped != 0 {
		t.Errorf("history before there is any: %v, %d, %v", entries, skipped, err)
	}
	first, second := sampleEntry(), sampleEntry()
	first.Why = strings.Repeat("é", 3000) + "\xff"
	second.Action, second.Outcome = ActionRevert, "a\nb\x1b[31m"
	for _, e := range []*Entry{&first, &second} {
		if err := h.log(e); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(h.StateDir, logName)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log has mode %v, %v", info.Mode(), err)
	}
	got, skipped, err := h.History()
	if err != nil || skipped != 0 || len(got) != 2 || got[1].Outcome != second.Outcome || len(got[0].Why) > maxText || !strings.HasSuffix(got[0].Why, "…") {
		t.Errorf("read %+v, %d skipped, %v", got, skipped, err)
	}
	if !reflect.DeepEqual(got[1].Words, second.Words) {
		t.Errorf("read words %+v, want %+v", got[1].Words, second.Words)
	}

	// A full log is put aside, and still read.
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(0); size <= maxLog; size += maxLine / 2 {
		if _, err := f.WriteString(strings.Repeat("x", maxLine/2-1) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	third := sampleEntry()
	third.Action = ActionUndo
	if err := h.log(&third); err != nil {
		t.Fatal(err)
	}
	got, skipped, err = h.History()
	if err != nil || len(got) != 3 || got[2].Action != ActionUndo || skipped == 0 {
		t.Errorf("read %d entries, %d skipped, %v", len(got), skipped, err)
	}

	// Nothing is logged, and so nothing done, where others may write.
	if err := os.Chmod(h.StateDir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := h.openLog(); err == nil {
		t.Error("a log was opened in a directory for all")
	}
}

func FuzzParseLog(f *testing.F) {
	e := sampleEntry()
	var b bytes.Buffer
	if err := e.write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{\"pid\":1}\n\n[]\nnull\n\x1b[2J"))
	f.Add(append(bytes.Repeat([]byte("x"), maxLine+1), b.Bytes()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, skipped, err := parseLog(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte("\n")) + 1; len(entries)+skipped > lines {
			t.Fatalf("%d entries and %d skipped of %d lines", len(entries), skipped, lines)
		}
		for _, e := range entries {
			if !e.sound() {
				t.Fatalf("%+v was let through", e)
			}
		}
	})
}

// Whatever a lease or the log holds is valid JSON when it is written again.
func TestClip(t *testing.T) {
	for _, s := range []string{"", "x", strings.Repeat("é", maxText), "\xff\xfe", strings.Repeat("\xff", 4*maxText)} {
		got := clip(s)
		b, err := json.Marshal(got)
		var back string
		if err != nil || json.Unmarshal(b, &back) != nil || back != got || len(got) > maxText {
			t.Errorf("clip gives %d bytes, %v", len(got), err)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, err := range []error{
		&StormFloorError{LimitBytes: 1, FloorBytes: 10 << 20, Reason: "r"}, &UnboundedError{}, &SelfTunedError{By: "x"}, &SelfTunedError{By: "x", Ours: true},
		&InconsistentError{"r"}, &OwnerError{1, 2}, &OwnedError{PID: 1}, &OwnedError{PID: 1, Owner: &Owner{Tool: "t"}}, &OrphanError{sampleLease()},
		&NoLeaseError{1}, &ChangedError{[]string{"a", "b"}}, &SamplingOnError{SampleHeap, 1},
	} {
		var h interface{ Hint() string }
		if !errors.As(err, &h) || h.Hint() == "" || err.Error() == "" {
			t.Errorf("%T: %q has no hint", err, err)
		}
	}
}
