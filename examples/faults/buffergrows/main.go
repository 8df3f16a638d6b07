// Buffergrows has a buffer for each of 4,000 devices that are connected for months.
// It is as large as the largest message that the device ever sent.
//
// Fix: when a buffer has become larger than 4 KiB, leave it after the message.
package main

import (
	"bytes"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type device struct {
	inbox bytes.Buffer
	seen  int
}

var (
	devices [4000]device
	message = make([]byte, 60<<10)
)

func main() {
	work.Run(200, func(n int) {
		size := 200
		if n%500 == 0 { // a photograph
			size = len(message)
		}
		devices[(n*7919+n/500)%len(devices)].receive(message[:size])
	})
}

func (d *device) receive(part []byte) {
	d.inbox.Reset()
	d.inbox.Write(part)
	d.seen += d.inbox.Len()
}
