// Views has a program killed together with another one, by memory.oom.group of cgroup
// v2, and holds what heapwright shows of it against what the kernel says: the limits in
// ps, the post-mortem of oom watch. It runs in a machine of package cgroup2.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

const (
	limitMiB = 64
	cores    = 0.9
	grows    = "main.growSessions"
)

func main() {
	heapwright := flag.String("heapwright", "", "the binary")
	subject := flag.String("subject", "", "the program that grows")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, *heapwright, *subject, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "views:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, heapwright, subject string, out io.Writer) (err error) {
	group, err := harness.MakeCgroup(harness.Limits{MemoryBytes: limitMiB << 20, CPUCores: cores})
	if err != nil {
		return err
	}
	defer func() {
		for range 100 {
			if group.Remove() == nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the dead leave it a little later
		}
	}()
	dir := group.Dir("memory")
	if err := os.WriteFile(filepath.Join(dir, "memory.oom.group"), []byte("1"), 0); err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "views-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)

	watch := exec.CommandContext(ctx, heapwright, "oom", "watch", "--json", "-v", "--data", data)
	said, err := watch.StdoutPipe()
	if err != nil {
		return err
	}
	watch.Stderr = os.Stderr
	if err := watch.Start(); err != nil {
		return err
	}
	defer func() {
		watch.Process.Signal(syscall.SIGINT)
		watch.Wait()
	}()

	beside := exec.CommandContext(ctx, "/bin/sleep", "1000")
	group.Enter(beside)
	if err := beside.Start(); err != nil {
		return err
	}
	victim := exec.CommandContext(ctx, subject, "-mode", "heap", "-limit", fmt.Sprint(limitMiB), "-rate", "16", "-warm", "6s")
	group.Enter(victim)
	ready, err := victim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		return fmt.Errorf("the program says %q: %w", line, err)
	}
	if err := listed(ctx, heapwright, victim.Process.Pid, out); err != nil {
		return err
	}

	victim.Wait()
	if err := beside.Wait(); beside.ProcessState == nil || beside.ProcessState.ExitCode() != -1 {
		return fmt.Errorf("the one beside it was not killed with it: %v", err)
	}
	kills, err := os.ReadFile(filepath.Join(dir, "memory.events"))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the kernel says: %s\n", strings.Join(strings.Fields(string(kills)), " "))
	if !strings.Contains(string(kills), "oom_group_kill 1") {
		return errors.New("the kernel did not kill the group")
	}

	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var kill struct {
			PID   int      `json:"pid"`
			File  string   `json:"file"`
			Known []string `json:"known"`
		}
		if err := json.Unmarshal(lines.Bytes(), &kill); err != nil || kill.PID != victim.Process.Pid {
			continue
		}
		fmt.Fprintf(out, "oom watch tells of process %d, by %q\n", kill.PID, kill.Known)
		text, err := exec.CommandContext(ctx, heapwright, "oom", kill.File).Output()
		if !bytes.Contains(text, []byte(grows)) {
			return fmt.Errorf("the post-mortem does not name %s: %v\n%s", grows, err, text)
		}
		fmt.Fprintf(out, "its post-mortem names %s\n", grows)
		return nil
	}
	return errors.New("oom watch does not tell of the kill")
}

// listed holds the limits that ps shows against those that were set.
func listed(ctx context.Context, heapwright string, pid int, out io.Writer) error {
	text, err := exec.CommandContext(ctx, heapwright, "ps", "--json").Output()
	if err != nil {
		return fmt.Errorf("heapwright ps: %w", err)
	}
	var doc struct {
		Processes []struct {
			PID    int      `json:"pid"`
			Memory *uint64  `json:"cgroup_limit_bytes"`
			CPU    *float64 `json:"cpu_quota_cores"`
		} `json:"processes"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	for _, p := range slices.Backward(doc.Processes) {
		if p.PID != pid {
			continue
		}
		if p.Memory == nil || *p.Memory != limitMiB<<20 || p.CPU == nil || *p.CPU != cores {
			return fmt.Errorf("ps does not show its limits: %s", text)
		}
		fmt.Fprintf(out, "ps shows a limit of %d bytes and a quota of %g cores\n", *p.Memory, *p.CPU)
		return nil
	}
	return fmt.Errorf("ps does not list it: %s", text)
}
