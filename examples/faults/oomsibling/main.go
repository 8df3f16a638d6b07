// Oomsibling is in a container of 160 MiB together with another process, which takes
// more and more of it. The kernel takes this one, though: it is the one that may be
// killed first.
//
// Fix: a container for each; or a limit for the other.
package main

import (
	"os"

	"github.com/heapwright/heapwright/examples/internal/upstream"
	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	upstream.Start(upstream.Grows)
	// As Kubernetes has it for what has no requests. Only Linux has the file.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	work.Run(1, func(int) {})
}
