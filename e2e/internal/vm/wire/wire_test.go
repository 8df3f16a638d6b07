package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestFrames(t *testing.T) {
	frames := []Frame{
		{Kind: Booted, Text: []byte("Linux 6.1")},
		{Kind: Began, Program: 3},
		{Kind: Said, Program: 3, Text: []byte("one\r\ntwo\x00\xff")},
		{Kind: Ended, Program: 3, Exit: -1, Why: "signal: killed", Took: time.Second, Cut: 7},
		{Kind: Off},
	}
	var b bytes.Buffer
	// Firmware greets on every port, and a terminal ends lines with a return, too.
	b.WriteString("SeaBIOS (version 1.16)\r\n{\"kind\":\r\n\r\n{}\r\n")
	for _, f := range frames {
		var line bytes.Buffer
		if err := Send(&line, f); err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.TrimSuffix(line.String(), "\n") + "\r\n")
	}
	r := NewReader(&b)
	for _, want := range frames {
		if got, err := r.Next(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestLongLine(t *testing.T) {
	if _, err := NewReader(strings.NewReader(strings.Repeat("x", 2*MaxLine))).Next(); err == nil || !strings.Contains(err.Error(), "a line of more than") {
		t.Errorf("%v", err)
	}
	// All that a frame may say fits.
	var b bytes.Buffer
	if err := Send(&b, Frame{Kind: Said, Program: 1 << 20, Text: bytes.Repeat([]byte{0xff}, MaxText)}); err != nil || b.Len() > MaxLine {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("{\"kind\":\"said\",\"program\":1,\"text\":\"aGVsbG8=\"}\n"))
	f.Add([]byte("{\"kind\":\"ended\",\"program\":-1}\r\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			got, err := r.Next()
			if err != nil {
				return
			}
			if got.Kind == "" || got.Program < 0 {
				t.Errorf("%+v", got)
			}
		}
	})
}
