package oom

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// tree makes the files of a group.
func tree(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRoomV2 reads made-up groups: a leaf with a limit, one above that has the
// controller but no limit, and the root, which has neither.
func TestRoomV2(t *testing.T) {
	root := t.TempDir()
	above := tree(t, filepath.Join(root, "pod"), map[string]string{"memory.current": "300\n", "memory.max": "max\n", "memory.stat": "anon 1\n"})
	leaf := tree(t, filepath.Join(above, "c"), map[string]string{
		"memory.current": "8192000\n", "memory.max": "10485760\n",
		"memory.stat":   "anon 4096000\nfile 2048000\ninactive_file 1024000\nactive_file 512000\nslab_reclaimable 100\nsock 7\nnonsense\nkernel x\n",
		"memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n",
	})
	r, err := OpenRoom([]string{leaf, above, root}, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	levels, err := r.Levels(nil)
	want := []Level{{leaf, 8192000, 10485760}, {above, 300, 0}}
	if err != nil || !reflect.DeepEqual(levels, want) {
		t.Errorf("levels %+v, %v", levels, err)
	}
	if levels[0].Left() != 10485760-8192000 || levels[1].Left() != math.MaxUint64 {
		t.Errorf("left %d and %d", levels[0].Left(), levels[1].Left())
	}
	if n, ok := r.Kills(); n != 2 || !ok {
		t.Errorf("%d kills, %v", n, ok)
	}
	parts, droppable, err := r.Parts(leaf)
	if err != nil || droppable != 1024000+512000+100 || parts[postmortem.PartAnon] != 4096000 || parts[postmortem.PartSock] != 7 {
		t.Errorf("parts %v, %d, %v", parts, droppable, err)
	}
	// The limit is read each time.
	tree(t, leaf, map[string]string{"memory.max": "20971520\n"})
	if levels, err = r.Levels(nil); err != nil || levels[0].Limit != 20971520 {
		t.Errorf("levels %+v, %v", levels, err)
	}
	tree(t, leaf, map[string]string{"memory.current": "garbage\n"})
	if _, err = r.Levels(nil); err == nil {
		t.Error("a usage that is no number was read")
	}
}

func TestOpenRoomNone(t *testing.T) {
	if _, err := OpenRoom([]string{t.TempDir()}, 2); err == nil {
		t.Error("a directory that is no group was opened")
	}
}

func TestHostLevel(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Level
		ok   bool
	}{
		{"MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n", Level{Usage: 600 << 10, Limit: 1000 << 10}, true},
		{"MemTotal:  1000 kB\n", Level{}, false},
		{"MemTotal:  10 kB\nMemAvailable:   400 kB\n", Level{}, false},
		{"", Level{}, false},
	} {
		if l, ok := HostLevel([]byte(tt.text)); l != tt.want || ok != tt.ok {
			t.Errorf("%q: %+v, %v", tt.text, l, ok)
		}
	}
}
