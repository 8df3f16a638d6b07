package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/e2e/servers"
)

func main() {
	ctx := context.Background()
	sec := os.Args[2]
	for _, s := range servers.All() {
		if len(os.Args) > 3 && os.Args[3] != s.Name {
			continue
		}
		bin, err := s.Recipe.Build(ctx)
		if err != nil {
			panic(err)
		}
		dir, _ := os.MkdirTemp("", "xload")
		i, err := s.Start(ctx, bin, dir, servers.Options{})
		if err != nil {
			panic(err)
		}
		lctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		done := make(chan servers.Stats, 1)
		if os.Args[1] != "idle" {
			l := i.ModerateLoad()
			if os.Args[1] == "flood" {
				l.Rate = 0
			}
			go func() { st, err := i.Load(lctx, l); fmt.Println(err); done <- st }()
			time.Sleep(3 * time.Second)
		}
		fmt.Printf("==== %s %s\n", s.Name, os.Args[1])
		out, _ := exec.Command("/tmp/rules-cal/cal", strconv.Itoa(i.PID), sec).CombinedOutput()
		os.Stdout.Write(out)
		cancel()
		if os.Args[1] != "idle" {
			st := <-done
			fmt.Printf("%+v\n", st)
		}
		i.Stop()
		os.RemoveAll(dir)
	}
}
