module example.com/tuned

go 1.24

require (
	github.com/KimMachineGun/automemlimit v0.0.0
	github.com/bytedance/gopkg v0.0.0
	github.com/heapwright/heapwright v0.0.0
)

replace (
	github.com/KimMachineGun/automemlimit => ./fake/memlimit
	github.com/bytedance/gopkg => ./fake/gctuner
	github.com/heapwright/heapwright => ./fake/heapwright
)
