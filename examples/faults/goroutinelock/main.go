// Goroutinelock has an account whose lock one forgotten path does not give back.
// From then on every request for that account waits for it.
//
// Fix: defer a.mu.Unlock() behind a.mu.Lock().
package main

import (
	"sync"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type account struct {
	mu      sync.Mutex
	balance int
}

var accounts [64]account

func main() {
	work.Run(240, func(n int) { go withdraw(&accounts[n%len(accounts)], 1+n%len(accounts), make([]byte, 3<<10)) })
}

func withdraw(a *account, amount int, request []byte) bool {
	a.mu.Lock()
	if amount == 17 {
		return false // with the lock
	}
	a.balance -= amount + int(request[0])
	a.mu.Unlock()
	return true
}
