// Package lint holds the rules that this repository's source keeps to and that
// neither the compiler nor vet knows: which package may import which, where
// unsafe code may live, what a library must not do. Every rule carries its
// reason, so that who trips over one knows what to weigh.
//
// The rules are functions of a source tree; the tests apply them to this
// repository, and to small trees that break each of them. The package is in the
// root module, above all others, because go test notices changes only in files
// below the module that a test is in.
//
// It does not check style: gofmt, vet and staticcheck do (make lint).
package lint
