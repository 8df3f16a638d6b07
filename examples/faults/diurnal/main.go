// Diurnal is healthy: how many users are there changes over the day, and with them
// what it holds. A day takes five minutes here.
package main

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type user struct{ state []byte }

var users []*user

func main() {
	start := time.Now()
	work.Run(20, func(int) {
		hour := 2 * math.Pi * time.Since(start).Seconds() / work.Scaled(5*time.Minute).Seconds()
		wanted := int(4000 * (1.2 - math.Cos(hour)))
		for len(users) < wanted {
			users = append(users, arrive())
		}
		if len(users) > wanted {
			clear(users[wanted:])
			users = users[:wanted]
		}
	})
}

func arrive() *user { return &user{make([]byte, 2<<10)} }
