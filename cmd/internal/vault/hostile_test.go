package vault

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

// TestTamperedDirectory opens a vault in a directory in which somebody has put things.
func TestTamperedDirectory(t *testing.T) {
	dir := t.TempDir()
	v := open(t, Options{Dir: dir, Now: func() time.Time { return noon }})
	good := put(t, v, "x", Periodic, snapshot(noon, 3))
	v.Close()

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	must(os.WriteFile(secret, []byte("secret"), 0o600))
	key := func(i int) string { return fmt.Sprintf("20261121T1200%02d.000000Z%s", i, suffix) }
	in := func(name string) string { return filepath.Join(dir, "x", name) }
	must(os.Symlink(secret, in(key(1))))
	must(os.Symlink("/dev/zero", in(key(2))))
	must(os.Mkdir(in(key(3)), 0o700))
	must(os.WriteFile(in(key(4)), nil, 0o600))
	must(os.WriteFile(in(key(5)), []byte("not a recording"), 0o600))
	must(os.WriteFile(in(key(6)), bomb(t), 0o600))
	must(os.WriteFile(in("20269999T120000.000000Z"+suffix), nil, 0o600))
	must(os.WriteFile(in("..hwrec"), nil, 0o600))
	must(os.WriteFile(in(partialName), []byte("half"), 0o600))
	must(os.Symlink(outside, filepath.Join(dir, "linked")))
	must(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	must(os.Mkdir(filepath.Join(dir, "a b"), 0o700))
	ordinary, err := os.ReadFile(in(good.Key + suffix))
	must(err)
	must(os.WriteFile(in(key(7)), ordinary[:len(ordinary)/2], 0o600)) // its head is whole
	pipe := makePipe(in(key(8)))

	v = open(t, Options{Dir: dir, Now: func() time.Time { return noon }})
	got := v.List("", time.Time{}, time.Time{})
	if len(got) > 2 || len(got) == 0 || got[0].Key != good.Key {
		t.Errorf("it lists %+v", got)
	}
	want := 12 // of which the file that was cut may be listed: its head is whole
	if pipe {
		want++
	}
	if s := v.Stats(); s.Ignored+len(got)-1 != want {
		t.Errorf("it ignored %d and listed %d; want %d, and one more listed", s.Ignored, len(got), want)
	}
	if _, err := os.Lstat(in(partialName)); !os.IsNotExist(err) {
		t.Errorf("what was half written is there yet: %v", err)
	}
	for _, e := range got[1:] {
		rec, err := v.Get(e.Process, e.Key)
		if err == nil && rec.Truncated == "" {
			t.Errorf("%s, which was cut, is read as whole", e.Key)
		}
	}

	// What is put in the place of a snapshot, while the vault is open, is not followed.
	must(os.Remove(in(good.Key + suffix)))
	must(os.Symlink(secret, in(good.Key+suffix)))
	if rec, err := v.Get("x", good.Key); err == nil {
		t.Errorf("it followed a link: %+v", rec)
	}
	// A link where the half-written file goes is removed, and not written through.
	must(os.Symlink(secret, in(partialName)))
	put(t, v, "x", Periodic, snapshot(noon.Add(time.Minute), 1))
	if b, _ := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("the file outside was changed: %q", b)
	}
	if _, err := v.Put("linked", Periodic, snapshot(noon, 1)); err == nil {
		t.Error("it wrote into a directory outside")
	}
	if names, _ := os.ReadDir(outside); len(names) != 1 {
		t.Errorf("there are new files outside: %v", names)
	}
}

// bomb is a small file whose first line is long.
func bomb(t testing.TB) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprintf(w, `{"kind":"heapwright-recording","schema":%q,"x":"`, record.Schema)
	w.Write(bytes.Repeat([]byte("a"), 64<<20))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestNames(t *testing.T) {
	for _, id := range []string{"a", "nats-server", "nats-server:2", ".x", "a..b", "...", "A_9"} {
		dir, err := dirOf(id)
		if err != nil {
			t.Errorf("%q: %v", id, err)
			continue
		}
		if strings.ContainsAny(dir, `/\:`) || dir == "." || dir == ".." {
			t.Errorf("%q becomes %q", id, dir)
		}
		if back, ok := processOf(dir); !ok || back != id {
			t.Errorf("%q becomes %q and then %q", id, dir, back)
		}
	}
	for _, dir := range []string{"", ".", "..", "a b", "a:2", "a/b", "ä", "\x00"} {
		if id, ok := processOf(dir); ok {
			t.Errorf("the directory %q is that of %q", dir, id)
		}
	}
}

// FuzzHead reads anything as a snapshot: its head, and all of it.
func FuzzHead(f *testing.F) {
	v, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	e, err := v.Put("x", "why", snapshot(noon, 2))
	if err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(v.opts.Dir, "x", e.Key+suffix))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	head0 := `{"kind":"heapwright-recording","schema":"` + record.Schema + "\"}\n" + `{"kind":"process","pid":1}` + "\n"
	f.Add([]byte(head0 + `{"kind":"event","event":"snapshot","text":"x","data":{"goroutines":"-1","heap_in_use_bytes":"NaN","kinds":"a,,heap,heap"}}` + "\n"))
	f.Add([]byte(head0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Entry
		if head(bytes.NewReader(b), &e) == nil {
			if e.Goroutines < 0 || !(e.HeapInUseBytes >= 0) || len(e.Kinds) > 4 || len(e.Reason) > maxReason {
				t.Errorf("the head says %+v", e)
			}
		}
		if rec, err := read(bytes.NewReader(b)); err == nil {
			describe("x", "", rec)
		}
	})
}

// FuzzName: whatever is the name of a file, it is that of one key or of none.
func FuzzName(f *testing.F) {
	f.Add("20261121T120000.000000Z")
	f.Add("20261121T120000.0000001Z")
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := keyTime(s); ok && at.Format(keyFormat) != s {
			t.Errorf("%q is the key of %v", s, at)
		}
		if id, ok := processOf(s); ok {
			if dir, err := dirOf(id); err != nil || dir != s {
				t.Errorf("%q is the directory of %q, whose is %q", s, id, dir)
			}
		}
	})
}
