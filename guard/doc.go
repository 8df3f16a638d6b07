// Package guard keeps a service up when its memory or its garbage collector is in
// trouble: it trips, degrades the service step by step, sheds load, and recovers.
//
//	g, err := guard.Start(guard.Config{})
//	if err != nil {
//		return err
//	}
//	defer g.Close()
//	http.ListenAndServe(addr, g.Handler(mux))
//
// Three things look at the process, ten times a second and more often while memory is
// scarce, without stopping the world and without a request noticing. Marks on the memory in use climb a ladder of
// degradations and descend it, a rung at a time. Objectives, which a signal has to
// keep over minutes, do the same, slowly. And a limiter bounds how many bytes of
// requests are in flight as soon as there are signs of overload. What comes of them
// is one state: Healthy, Degraded, Recovering, and Healthy again.
//
// Package sli says what is measured, package shed admits or refuses requests,
// package evidence keeps what was to be seen when it tripped. This package decides,
// with pure functions of what they measured, and carries out the decisions. It sets
// neither GOGC nor GOMEMLIMIT; package memlimit does, and goes well with it.
package guard
