package memlimit_test

import (
	"fmt"
	"log"
	"time"

	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/memlimit/control"
)

func ExampleStart() {
	l, err := memlimit.Start(memlimit.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	r := l.Report()
	fmt.Printf("GOMEMLIMIT=%d (%s: %s)\n", r.GOMEMLIMIT, r.Mode, r.Reason)
}

// The controller looks for the GOGC that takes the least CPU in the memory there is.
func ExampleStart_objective() {
	l, err := memlimit.Start(memlimit.Config{
		Objective: &control.Objective{},
		MinGOGC:   50,
		MaxGOGC:   400,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
}

// A dry run sets nothing and says what would be set.
func ExampleConfig_dryRun() {
	l, err := memlimit.Start(memlimit.Config{Bytes: 512 << 20, DryRun: true, IgnoreOperator: true})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	r := l.Report()
	fmt.Println(r.Mode, r.WouldSet > 256<<20, r.WouldSet < 512<<20)
	// Output: dry_run true true
}

// An override is for people and tools that try something out: it ends by itself.
func ExampleLimit_Override() {
	l, err := memlimit.Start(memlimit.Config{Bytes: 512 << 20, IgnoreOperator: true})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	revert, err := l.Override(0, 300<<20, 10*time.Minute, "ada")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Report().Mode, l.Report().GOMEMLIMIT>>20)
	revert()
	fmt.Println(l.Report().Mode)
	// Output:
	// override 300
	// set
}
