package sub

type I interface{ M() }
type v int

func (v) M() {}

var keep []I

func G(f func(int) int) { keep = append(keep, v(f(3))) }
