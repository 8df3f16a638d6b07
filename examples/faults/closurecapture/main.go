// Closurecapture keeps, for each account, how to undo its last change. The function
// needs the account's old name and has the whole request, with an upload of 16 KiB,
// because that is where it takes the name from.
//
// Fix: name := r.oldName in front of the function, and name in it.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type request struct {
	account int
	oldName string
	upload  []byte
}

var (
	names = make([]string, 200_000)
	// There are this many accounts, and never more.
	undo = make([]func(), len(names))
)

func main() {
	work.Run(1.5, func(n int) { rename(readRequest(n % len(names))) })
}

func rename(r *request) {
	undo[r.account] = func() { names[r.account] = r.oldName }
	names[r.account] = "new"
}

func readRequest(account int) *request {
	return &request{account: account, oldName: "old", upload: make([]byte, 16<<10)}
}
