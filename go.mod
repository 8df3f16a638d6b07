module github.com/heapwright/heapwright

go 1.24.0
