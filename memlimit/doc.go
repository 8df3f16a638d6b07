// Package memlimit gives a process the Go memory limit (GOMEMLIMIT) that its
// container leaves it, and keeps it right.
//
//	l, err := memlimit.Start(memlimit.Config{})
//	if err != nil {
//		return err
//	}
//	defer l.Close()
//
// An import of package memlimit/auto does the same, for programs that want no
// call of their own.
//
// The limit is what the kernel will kill for: the smallest along the path of
// cgroups, v1 or v2, memory.high counted; or what Config or the environment says.
// From it goes the memory that is not Go's, which is measured, not guessed: what
// the kernel counts against the limit and cannot take back, less what the Go
// runtime holds. C libraries, memory-mapped files that are locked, kernel memory
// and neighbours in the same container are in it; page cache is not. And from it
// goes a reserve that follows how far both were seen to move between two looks.
//
// Every Config.Interval all of it is looked at again, so that a container that is
// resized, or C code that grows, is followed. A limit that grows is used after it
// grew; one that is to shrink can be prepared for: see [Limit.Prepare] and [Resize].
//
// With Config.Objective a controller also moves GOGC, and GOMEMLIMIT into the reserve
// where the collector is under pressure: package memlimit/control says by which rule.
//
// What it does not do. It does not change a GOMEMLIMIT that somebody else set, in
// the environment or by a call, neither before it started nor after: it reports
// it. It sets nothing where there is no limit. It does not make a heap smaller
// that is too large for its container: then the collector runs all the time, on half
// of the CPUs at most, and the report says "too_small". Package guard is for that. It
// does not create or change cgroups. It cannot help against what comes all at once:
// memory that is not Go's and grows by more than the reserve between two looks, or a
// limit that is lowered below what is in use.
//
// What Go holds and has not touched yet, as a large slice that was just made, is
// taken for resident, and hides as much memory that is not Go's until it is touched.
//
// HEAPWRIGHT_MEMLIMIT=off in the environment turns it off, =dry-run makes it say
// what it would set; HEAPWRIGHT_MEMORY_LIMIT gives the limit, as in
// Config.File.
//
// Without cgroups, as on macOS and Windows, a limit has to be given: then
// everything but the measurement works, and a tenth of the limit stands for it.
package memlimit
