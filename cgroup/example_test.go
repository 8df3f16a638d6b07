package cgroup_test

import (
	"fmt"
	"log"
	"time"

	"github.com/heapwright/heapwright/cgroup"
)

func ExampleSelf() {
	g, err := cgroup.Self()
	if err != nil {
		log.Fatal(err)
	}
	limit, ok, err := g.MemoryLimit()
	switch {
	case err != nil:
		log.Print(err)
	case ok:
		fmt.Printf("we may use %d MiB\n", limit>>20)
	default:
		fmt.Println("no memory limit")
	}
}

func ExampleGroup_NewReader() {
	g, err := cgroup.Self()
	if err != nil {
		log.Fatal(err)
	}
	r, err := g.NewReader(cgroup.StatAll)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	var s cgroup.Stats
	for range time.Tick(time.Second) {
		if err := r.Read(&s); err != nil {
			log.Fatal(err)
		}
		if s.Has(cgroup.StatMemoryUsage | cgroup.StatMemoryLimit) {
			fmt.Printf("%d of %d bytes\n", s.MemoryUsage, s.MemoryLimit)
		}
	}
}
