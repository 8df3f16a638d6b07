module github.com/heapwright/heapwright/cmd

go 1.26.0

require github.com/heapwright/heapwright v0.0.0
