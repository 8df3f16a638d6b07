package subject

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		names string
		want  string // "" is an error
	}{
		{"webcache", "webcache"},
		{"kv,json", "kv json"},
		{"p*", "pointers phases prometheus"},
		{"nonesuch", ""},
		{"webcache,x*", ""},
	} {
		got, err := Find(strings.Split(tt.names, ","))
		var names []string
		for _, s := range got {
			names = append(names, s.Name)
		}
		if strings.Join(names, " ") != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %v, %v; want %s", tt.names, names, err, tt.want)
		}
	}
}

// TestWorkloadsExist holds the list of workloads here against the program's own.
func TestWorkloadsExist(t *testing.T) {
	bin, err := buildWorkloads(t.Context(), runtime.Version())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-run", "nonesuch").CombinedOutput()
	if err == nil {
		t.Fatal("the program has a workload called nonesuch")
	}
	_, list, _ := strings.Cut(string(out), "only [")
	list, _, _ = strings.Cut(list, "]")
	has := strings.Fields(list)
	if len(has) != len(workloads) {
		t.Errorf("the program has %v, the list %v", has, workloads)
	}
	for _, name := range workloads {
		if !strings.Contains(" "+list+" ", " "+name+" ") {
			t.Errorf("the program has no workload %s", name)
		}
	}
}

func TestEveryServerHasARate(t *testing.T) {
	servers := Servers()
	if len(servers) != len(rates) {
		t.Errorf("%d servers and %d rates", len(servers), len(rates))
	}
	for _, s := range servers {
		if rates[s.Name] <= 0 {
			t.Errorf("%s has no rate", s.Name)
		}
	}
}
