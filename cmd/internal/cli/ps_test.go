package cli

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/record"
)

// psHost has one process of each kind.
func psHost() *fakeEnv {
	f := newFakeEnv()
	f.host.from = 200
	f.serve(4123, "nats-server", ruletest.Server{})
	f.serve(99, "etcd", ruletest.Server{Alloc: ruletest.Const(500 * mib), Live: ruletest.Const(150 * mib), Limit: 400 * mib, Container: 512 * mib, GOGC: 50})
	f.serve(1234567, "a-service-with-a-rather-long-name", ruletest.Server{Live: ruletest.Const(900 * mib), Container: 1 << 30, GOGC: -1})
	old := proc(812, "containerd")
	old.GoVersion = "go1.19.13"
	f.host.add(goproc.Entry{Process: old, RSS: 45 * mib, IsGo: true,
		Err: hinted(errors.New("no tables for go1.19.13 on amd64"), "supported are Go 1.20 to 1.27.4")}, nil)
	f.host.add(goproc.Entry{Process: record.Process{PID: 1, Name: "init"}, Err: errors.New("access denied")}, nil)
	f.host.add(goproc.Entry{Process: proc(os.Getpid(), "heapwright"), IsGo: true}, nil)
	return f
}

func TestPSTable(t *testing.T) {
	for _, tc := range []struct {
		name    string
		columns string
		args    []string
	}{
		{"80", "80", nil},
		{"100", "100", nil},
		{"wide", "200", []string{"--sort", "pid"}},
		{"filtered", "80", []string{"nats*", "etc"}},
		{"none", "80", []string{"nosuch"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := psHost()
			f.vars["COLUMNS"] = tc.columns
			f.run(t, ExitOK, append([]string{"ps"}, tc.args...)...)
			if tc.columns == "80" {
				at80(t, f.out.String())
			}
			golden(t, "ps/"+tc.name+".txt", f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

func TestPSJSON(t *testing.T) {
	f := psHost()
	f.run(t, ExitOK, "ps", "--json", "--all", "--sort", "name")
	var doc psDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range doc.Processes {
		names = append(names, p.Name)
	}
	want := []string{"a-service-with-a-rather-long-name", "containerd", "etcd", "heapwright", "init", "nats-server"}
	if !slices.Equal(names, want) || doc.Hidden != 0 {
		t.Errorf("processes %q, %d hidden; want %q", names, doc.Hidden, want)
	}
	etcd := doc.Processes[2]
	if etcd.Error != nil || *etcd.GOGCPercent != 50 || *etcd.GOMEMLIMITBytes != 400*mib || *etcd.CgroupLimitBytes != 512*mib || *etcd.HeapLiveBytes < 140*mib {
		t.Errorf("etcd is %+v", etcd)
	}
	if r := *etcd.GCCPURatio; !(r > 0 && r < 1) || etcd.WindowSeconds != nil {
		t.Errorf("GC CPU of etcd since its start is %v over %v", r, etcd.WindowSeconds)
	}
	old := doc.Processes[1]
	if old.Error == nil || !strings.Contains(*old.Error, "go1.19.13") || old.Hint == nil || old.HeapLiveBytes != nil || *old.RSSBytes != 45*mib {
		t.Errorf("containerd is %+v", old)
	}
	if nats := doc.Processes[5]; nats.CgroupLimitBytes != nil {
		t.Errorf("a process without a limit has one of %d", *nats.CgroupLimitBytes)
	}
}

func TestPSWindow(t *testing.T) {
	f := newFakeEnv()
	f.serve(1, "server", ruletest.Server{Live: ruletest.Const(100 * mib), Alloc: ruletest.Const(500 * mib)})
	// A reading a sample: the second is a tenth of a second later, so make the
	// recording coarse enough to have cycles between.
	f.host.recs[1] = recordingOf(proc(1, "server"), ruletest.Server{Hz: 0.2, Live: ruletest.Const(100 * mib), Alloc: ruletest.Const(500 * mib)})
	f.run(t, ExitOK, "ps", "--json", "--for", "1ms")
	var doc psDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	p := doc.Processes[0]
	if p.WindowSeconds == nil || *p.WindowSeconds < time.Millisecond.Seconds() || p.GCCPURatio == nil {
		t.Errorf("window %v, ratio %v", p.WindowSeconds, p.GCCPURatio)
	}
}

func TestPSUsage(t *testing.T) {
	f := psHost()
	for _, args := range [][]string{{"--sort", "size"}, {"--for", "-1s"}, {"[a"}} {
		f.run(t, ExitCouldNotRun, append([]string{"ps"}, args...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), "heapwright: hint: ") {
			t.Errorf("%q: stdout %q, stderr %q", args, &f.out, &f.err)
		}
	}
}

func TestHostileNames(t *testing.T) {
	f := newFakeEnv()
	p := proc(7, "evil\x1b[2J\nname")
	p.GoVersion = " "
	f.host.add(goproc.Entry{Process: p, IsGo: true, Err: errors.New("bad\x1b]0;title\a\nthing")}, nil)
	f.run(t, ExitOK, "ps")
	if strings.ContainsAny(f.out.String(), "\x1b\a") || strings.Count(f.out.String(), "\n") != 3 {
		t.Errorf("printed %q", f.out.String())
	}
}
