package shed

import (
	"encoding/json"
	"testing"
)

func TestClassNames(t *testing.T) {
	for _, class := range Classes {
		text, err := class.MarshalText()
		if err != nil || string(text) != class.String() {
			t.Errorf("%v: text %q, error %v", class, text, err)
		}
		var back Class
		if err := back.UnmarshalText(text); err != nil || back != class {
			t.Errorf("%v comes back as %v, error %v", class, back, err)
		}
	}
	var zero Class
	if zero != Normal {
		t.Errorf("the zero class is %v", zero)
	}
	unknown := Class(NumClasses)
	if got := unknown.String(); got != "class(4)" {
		t.Errorf("a class that there is none of is called %q", got)
	}
	if _, err := unknown.MarshalText(); err == nil {
		t.Error("a class that there is none of has a text")
	}
	for _, name := range []string{"", "Low", "class(4)", " low"} {
		if c, err := ParseClass(name); err == nil {
			t.Errorf("%q is %v", name, c)
		}
	}
}

func TestJSONByClass(t *testing.T) {
	data, err := json.Marshal(struct {
		S Shares
		C Counts
	}{Shares{Low: 0, Normal: 0.5, High: 1, Critical: 1}, Counts{Low: 7}})
	const want = `{"S":{"critical":1,"high":1,"low":0,"normal":0.5},"C":{"critical":0,"high":0,"low":7,"normal":0}}`
	if err != nil || string(data) != want {
		t.Errorf("got %s, error %v\nwant %s", data, err, want)
	}
	var s Shares
	if err := json.Unmarshal([]byte(`{"low":0.25}`), &s); err != nil || s != (Shares{Low: 0.25, Normal: 1, High: 1, Critical: 1}) {
		t.Errorf("shares %v, error %v", s, err)
	}
	c := Counts{1, 2, 3, 4}
	if err := json.Unmarshal([]byte(`{"high":9}`), &c); err != nil || c != (Counts{High: 9}) {
		t.Errorf("counts %v, error %v", c, err)
	}
	for _, bad := range []string{`{"lowest":1}`, `[1]`, `{"low":"1"}`, `{"low":-1}`} {
		if err := json.Unmarshal([]byte(bad), &c); err == nil {
			t.Errorf("%s is read as %v", bad, c)
		}
	}
}

func FuzzShares(f *testing.F) {
	f.Add([]byte(`{"low":0.25,"critical":3}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, back Shares
		if json.Unmarshal(data, &s) != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &back); err != nil || back != s {
			t.Fatalf("%v comes back as %v, error %v", s, back, err)
		}
	})
}
