package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// postMortem has heapwright watch a program until the kernel kills it, and returns
// what it then says of its end.
func (b *bench) postMortem(ctx context.Context, heapwright string, p *program) ([]byte, error) {
	dir := filepath.Join(filepath.Dir(p.account), "oom")
	watch := exec.Command(heapwright, "oom", "watch", fmt.Sprint(p.pid), "--dir", dir)
	watch.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := watch.Start(); err != nil {
		return nil, err
	}
	alive := false
	select {
	case <-p.ended:
	case <-time.After(b.window):
		alive = true
	case <-ctx.Done():
	}
	// What is written after the death is written within seconds.
	time.Sleep(3 * time.Second)
	watch.Process.Signal(syscall.SIGTERM)
	err := watch.Wait()
	if alive {
		return nil, errors.New("the kernel did not kill it")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.hwrec"))
	if len(files) == 0 {
		return nil, fmt.Errorf("heapwright oom watch wrote no file: %w", err)
	}
	return output(ctx, time.Minute, heapwright, "oom", files[len(files)-1], "--json")
}
