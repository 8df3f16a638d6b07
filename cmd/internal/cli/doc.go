// Package cli is the command line of heapwright: a command a file.
//
// A command parses its flags, calls the packages that do the work, and prints;
// it decides nothing about Go programs. It reaches the outside only through
// [Env], so that all of it runs in tests. The result goes to stdout, everything
// else to stderr; see docs/cli-json.md for the contract of --json.
package cli
