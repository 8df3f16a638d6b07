#!/bin/bash
# tidy.sh MODULE... runs go mod tidy in each module. The nested modules import the
# root module, which go mod tidy would look for on the module proxy: it works on a
# copy of go.mod that says where our modules are, and what the copy came to goes
# back without that.
set -euo pipefail

root=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export GOWORK=off GOFLAGS=-mod=mod

root_path=$(go list -m)
for module in "$@"; do
	cd "$root/$module"
	echo "tidy $module"
	if [ "$module" = . ]; then
		go mod tidy
		continue
	fi
	cp go.mod "$tmp/go.mod"
	rm -f "$tmp/go.sum"
	if [ -f go.sum ]; then cp go.sum "$tmp/go.sum"; fi
	go mod edit -replace "$root_path=$root" "$tmp/go.mod"
	go mod tidy -modfile="$tmp/go.mod"
	go mod edit -dropreplace "$root_path" "$tmp/go.mod"
	# A version of the root module that is on no proxy would break every go get.
	if grep -q "$root_path v0.0.0" "$tmp/go.mod"; then
		go mod edit -droprequire "$root_path" "$tmp/go.mod"
	fi
	cp "$tmp/go.mod" go.mod
	if [ -s "$tmp/go.sum" ]; then cp "$tmp/go.sum" go.sum; else rm -f go.sum; fi
done
