package resultfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

func result() *chaos.Run {
	text := "schema: heapwright.stress/1\n"
	sum := sha256.Sum256([]byte(text))
	r := &chaos.Run{
		Schema: chaos.ResultSchema, Tool: "test", Started: time.Unix(1e9, 0).UTC(), PlanText: text, PlanHash: hex.EncodeToString(sum[:]),
		Plan:     chaos.Plan{Name: "test", Faults: []chaos.Fault{{Name: "a", Kind: chaos.Sibling, Level: chaos.Level{Value: 0.5, Share: true}}}},
		Phases:   []chaos.Phase{{Kind: chaos.PhaseBefore, Fault: -1, To: time.Second}, {Kind: chaos.PhaseFault, From: time.Second, To: 2 * time.Second}},
		Cycles:   []chaos.Cycle{{At: time.Second, Pause: time.Microsecond, LiveBytes: 1 << 20}},
		Events:   []chaos.Event{{At: time.Second, Kind: chaos.EventFault, Text: "began"}},
		Faults:   []chaos.Done{{Began: time.Second, Ended: 2 * time.Second, Peak: 12, Happened: true}},
		Left:     []string{},
		Findings: []chaos.Diagnosed{{Fault: -1, Findings: []chaos.Finding{{ID: "HW1001", Severity: "info", Title: "t"}}}},
	}
	for i := range 20 {
		r.Points = append(r.Points, chaos.Point{At: time.Duration(i) * time.Second / 10, Values: map[chaos.Metric]float64{chaos.LiveHeap: 123456789, chaos.GCCPURatio: 0.25}})
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x"+Suffix)
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 0 {
		t.Errorf("before it is saved there are %v", files)
	}
	if err := Save(path, result()); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, result()) {
		t.Errorf("%+v\nis not\n%+v", back, result())
	}
	exists := new(ExistsError)
	if err := Check(path); !errors.As(err, &exists) || exists.Hint() == "" {
		t.Errorf("checking it again: %v", err)
	}
	files, _ := os.ReadDir(filepath.Dir(path))
	if len(files) != 1 {
		t.Errorf("there are %v", files)
	}
}

// TestComeMeanwhile: a file came while the run lasted. What cannot be had again is kept.
func TestComeMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x"+Suffix)
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Save(path, result())
	exists := new(ExistsError)
	if !errors.As(err, &exists) || exists.Hint() == "" {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "theirs" {
		t.Errorf("it was overwritten: %q", text)
	}
	_, ours, _ := strings.Cut(err.Error(), "it is in ")
	if _, err := Read(ours); err != nil {
		t.Error(err)
	}
}

func TestNowhere(t *testing.T) {
	if err := Check(filepath.Join(t.TempDir(), "none", "x"+Suffix)); err == nil {
		t.Error("a file in no directory can be created")
	}
}

// A result that does not hang together is refused, and nobody has to find out later.
func TestHostile(t *testing.T) {
	for name, change := range map[string]func(*chaos.Run){
		"schema":     func(r *chaos.Run) { r.Schema = "heapwright.stress.result/2" },
		"hash":       func(r *chaos.Run) { r.PlanText += "\n" },
		"kind":       func(r *chaos.Run) { r.Plan.Faults[0].Kind = "fire" },
		"phase":      func(r *chaos.Run) { r.Phases[1].Fault = 1 },
		"backwards":  func(r *chaos.Run) { r.Phases[1].To = 0 },
		"event":      func(r *chaos.Run) { r.Events[0].Fault = 1 << 40 },
		"event time": func(r *chaos.Run) { r.Events[0].At = -1 },
		"points":     func(r *chaos.Run) { r.Points[3].At = 0 },
		"done":       func(r *chaos.Run) { r.Faults[0].Fault = -1 },
		"undo":       func(r *chaos.Run) { r.Faults[0].Undo = -time.Hour },
		"finding":    func(r *chaos.Run) { r.Findings[0].Fault = 2 },
		"cycle":      func(r *chaos.Run) { r.Cycles[0].Pause = -1 },
	} {
		r := result()
		change(r)
		var b bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
		foreign := new(ForeignError)
		if _, err := Decode(&b); !errors.As(err, &foreign) || foreign.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "{", "[]", "null", "{}", `{"points": [`, `{"points": {}}`, `{"points": [1]}`, `{"schema": 1}`, `{"events":[` + strings.Repeat("{},", maxEvents) + "{}]}",
		`{"plan_text":"` + strings.Repeat("x", maxRest) + `"}`} {
		if _, err := Decode(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q is a result", text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, result()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":"heapwright.stress.result/1","points":[],"phases":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, r); err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(&again); err != nil {
			t.Errorf("what was read is not read again: %v", err)
		}
	})
}
