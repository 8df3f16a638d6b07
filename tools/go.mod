module github.com/heapwright/heapwright/tools

go 1.26.0
