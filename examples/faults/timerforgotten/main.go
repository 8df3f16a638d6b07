// Timerforgotten has every login expire after a day, and does not take that back
// when the user logs out after a second: the timer keeps the login.
//
// Fix: l.expiry.Stop() in logout.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type login struct {
	user    uint64
	profile []byte
	expiry  *time.Timer
	over    bool
}

func main() {
	work.Run(12, func(n int) { logout(logIn(uint64(n))) })
}

func logIn(user uint64) *login {
	l := &login{user: user, profile: make([]byte, 2<<10)}
	l.expiry = time.AfterFunc(24*time.Hour, l.expire)
	return l
}

func (l *login) expire() { l.over = true }

func logout(l *login) { l.over = true }
