module github.com/heapwright/heapwright/e2e

go 1.26.0
