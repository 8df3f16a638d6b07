package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
)

func TestWords(t *testing.T) {
	tests := []struct {
		what string
		more any
		want word
	}{
		{wordDone, nil, word{what: wordDone}},
		{wordHere, nil, word{what: wordHere}},
		{wordHere, map[chaos.Metric]float64{chaos.Ready: 1}, word{what: wordHere, values: map[chaos.Metric]float64{chaos.Ready: 1}}},
		{wordBegin, 3, word{what: wordBegin, fault: 3}},
		{wordEnd, 0, word{what: wordEnd}},
		{wordAbort, "so be\nit", word{what: wordAbort, why: "so be it"}},
		{wordBefore, []chaos.Point{{At: time.Second, Values: map[chaos.Metric]float64{chaos.RSS: 7}}},
			word{what: wordBefore, points: []chaos.Point{{At: time.Second, Values: map[chaos.Metric]float64{chaos.RSS: 7}}}}},
		{wordTarget, taking{&fault.Target{PID: 7}, []*fault.Resolved{{Level: 3}}}, word{what: wordTarget, taking: &taking{&fault.Target{PID: 7}, []*fault.Resolved{{Level: 3}}}}},
	}
	for _, tt := range tests {
		text, err := line(tt.what, tt.more)
		if err != nil || bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("%s is said as %q, %v", tt.what, text, err)
			continue
		}
		if got, err := parseWord(text); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q is understood as %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "sing", "done 1", "begin", "begin x", "begin -1", "here []", "abort", "target {}", `target {"target":{"pid":1}}`, `target {"target":{"pid":9},"faults":[null]}`, "before 1"} {
		if w, err := parseWord([]byte(bad)); err == nil {
			t.Errorf("%q is understood as %+v", bad, w)
		}
	}
}

func TestReplies(t *testing.T) {
	for _, good := range []string{`{"is":"ready"}`, `{"is":"began","fault":2}`, `{"is":"undone","done":[{}]}`, `{"is":"event","event":{}}`, `{"is":"busy","busy":{}}`} {
		if _, err := parseReply([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "null", `{"is":"undone"}`, `{"is":"event"}`, `{"is":"busy"}`, `{"is":"singing"}`} {
		if r, err := parseReply([]byte(bad)); err == nil {
			t.Errorf("%s is understood as %+v", bad, r)
		}
	}
}

func TestReadLine(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("one\n"+strings.Repeat("x", 100)+"\n"+strings.Repeat("y", 300)+"\n"), 16)
	for _, want := range []int{4, 101} {
		if b, err := readLine(r, 200); err != nil || len(b) != want {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	if b, err := readLine(r, 200); err == nil {
		t.Errorf("a line of %d bytes is read", len(b))
	}
	if _, err := readLine(bufio.NewReader(strings.NewReader("half")), 200); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v", err)
	}
}

// FuzzWord has a keeper hear anything. What it understands it can say.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"done", "here", `here {"ready":1}`, "begin 1", "end 0", `abort "x"`, `before [{"at_ns":1,"values":{"ready":1}}]`, `target {"target":{"pid":5},"faults":[{"fault":{"name":"a"},"level":1}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		w, err := parseWord(text)
		if err != nil {
			return
		}
		if len(w.why) > maxText || w.fault < 0 || w.taking != nil && w.taking.Target.PID <= 1 {
			t.Errorf("%q is understood as %+v", text, w)
		}
	})
}

// FuzzReply has a tool hear anything.
func FuzzReply(f *testing.F) {
	for _, s := range []string{`{"is":"ready","proxies":{"a":"b"}}`, `{"is":"event","event":{"at_ns":1,"kind":"abort","text":"x"}}`, `{"is":"done","done":[{"fault":1}],"left":["x"]}`, `{"is":"undone","done":[{"fault":1}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseReply(text)
		if err != nil {
			return
		}
		k := &Keeper{events: make(chan chaos.Event, 1), replies: make(chan reply, 1), dones: map[int]chaos.Done{}, begun: map[int]time.Duration{}}
		k.heard(r)
		if len(r.Text) > maxText || strings.ContainsAny(r.Text, "\n") {
			t.Errorf("a text is %q", r.Text)
		}
	})
}

// FuzzServe gives a keeper any input at all: it ends when that does, and leaves nothing.
func FuzzServe(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"plan":{},"dir":"/nonexistent/x","state_dir":"/nonexistent/x","lease_ns":1000000000}` + "\nbegin 0\nend 0\nhere\nabort \"x\"\nbegin 1\ndone\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.Contains(in, []byte(wordTarget)) || bytes.Contains(in, []byte(chaos.SlowDependency)) || bytes.Contains(in, []byte(`\u`)) {
			return // nothing is done to anybody, and nothing is listened on
		}
		var out bytes.Buffer
		_ = Serve(t.Context(), bytes.NewReader(in), &out)
		for l := range bytes.Lines(out.Bytes()) {
			var r reply
			if err := json.Unmarshal(l, &r); err != nil {
				t.Errorf("it says %q", l)
			}
		}
	})
}

// TestHappened: enough of the level has to be seen, or, where a closed loop led it to
// its goal, anything.
func TestHappened(t *testing.T) {
	tests := []struct {
		name       string
		kind       chaos.Kind
		from       float64
		done       chaos.Done
		led, blind bool // nothing was looked at
		want       bool
	}{
		{name: "seen", kind: chaos.Churn, done: chaos.Done{Peak: 100, Measured: 80}, want: true},
		{name: "too little", kind: chaos.Churn, done: chaos.Done{Peak: 100, Measured: 79}},
		{name: "led beyond what there can be", kind: chaos.Churn, done: chaos.Done{Peak: 100, Measured: 20}, led: true, want: true},
		{name: "led, and nothing of it", kind: chaos.Churn, done: chaos.Done{Peak: 100}, led: true},
		{name: "led, and not looked at", kind: chaos.Churn, done: chaos.Done{Peak: 100}, led: true, blind: true},
		{name: "down", kind: chaos.CPUQuota, from: 4, done: chaos.Done{Peak: 2, Measured: 2}, want: true},
		{name: "not down", kind: chaos.CPUQuota, from: 4, done: chaos.Done{Peak: 2, Measured: 3.5}},
		{name: "led down", kind: chaos.CPUQuota, from: 4, done: chaos.Done{Peak: 2, Measured: 3.5}, led: true, want: true},
		{name: "led down, and it stayed", kind: chaos.CPUQuota, from: 4, done: chaos.Done{Peak: 2, Measured: 4}, led: true},
	}
	for _, tt := range tests {
		info, _ := tt.kind.Info()
		c := &course{what: &fault.Resolved{Fault: chaos.Fault{Kind: tt.kind}, From: tt.from}, info: info, done: tt.done, led: tt.led, seen: !tt.blind, set: true}
		if got := c.happened(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
