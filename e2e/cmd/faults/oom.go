package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// killable says why there can be no programs in memory cgroups here, nil when there
// can.
func killable() error {
	c, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 64 << 20})
	if err != nil {
		return err
	}
	return c.Remove()
}

// afterDeath is how long heapwright has for writing what it saw, once the program
// is dead.
const afterDeath = 15 * time.Second

// postMortem has heapwright watch a program until the kernel kills it, and returns
// what it then says of its end.
func (b *bench) postMortem(ctx context.Context, heapwright string, p *program) ([]byte, error) {
	watch := exec.Command(heapwright, "oom", "watch", fmt.Sprint(p.pid), "--json", "--data", filepath.Join(filepath.Dir(p.account), "oom"))
	watch.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := watch.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := watch.Start(); err != nil {
		return nil, err
	}
	files := make(chan string, 1)
	go func() {
		defer close(files)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var kill struct {
				PID  int    `json:"pid"`
				File string `json:"file"`
			}
			if json.Unmarshal(sc.Bytes(), &kill) == nil && kill.PID == p.pid && kill.File != "" {
				files <- kill.File
				return
			}
		}
	}()
	defer func() {
		watch.Process.Signal(syscall.SIGTERM)
		watch.Wait()
	}()
	select {
	case <-p.ended:
	case <-time.After(b.window):
		return nil, errors.New("the kernel did not kill it")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case file := <-files:
		if file == "" {
			return nil, errors.New("heapwright oom watch ended before the program did")
		}
		return output(ctx, time.Minute, heapwright, "oom", file, "--json")
	case <-time.After(afterDeath):
		return nil, errors.New("heapwright oom watch says nothing of the kill")
	}
}
