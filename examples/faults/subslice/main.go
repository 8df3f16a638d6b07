// Subslice keeps the token of each device, 32 bytes, as a slice of the message that
// it came in. Each of them keeps its whole message of 16 KiB.
//
// Fix: tokens[device] = bytes.Clone(message[:32]).
package main

import "github.com/heapwright/heapwright/examples/internal/work"

// There are this many devices, and never more.
var tokens = make([][]byte, 200_000)

func main() {
	work.Run(1.5, func(n int) { receive(n%len(tokens), readMessage(n)) })
}

func receive(device int, message []byte) {
	tokens[device] = message[:32]
}

func readMessage(n int) []byte {
	message := make([]byte, 16<<10)
	for i := range message {
		message[i] = byte(n + i)
	}
	return message
}
