// Package subject builds the programs of an experiment and runs them: one
// [Builder.Build] for each variant, one [Start] and [Process.Stop] for each arm of
// a block.
//
// A build is by the go command, with the variant's toolchain, flags, tags and
// profile, and kept by content: variants that come to the same binary have the
// same SHA-256, which is how a comparison of a thing with itself is noticed.
//
// A process runs in a directory and a process group of its own, with an
// environment that does not depend on ours, and where limits are asked for in a
// cgroup of its own from its first instruction. It does not outlive us, however
// we end: the kernel kills it with us, a watching shell ends what it has forked,
// and [Sweep] removes what is left when that shell was killed too.
//
// The package measures nothing but how long a start took, and loads nothing.
package subject
