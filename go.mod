module github.com/heapwright/heapwright

go 1.25.0
