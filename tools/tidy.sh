#!/bin/bash
# tidy.sh MODULE... runs go mod tidy in each module. The nested modules import the
# root module, and one may import another, which go mod tidy would look for on the
# module proxy: it works on a copy of go.mod that says where our modules are, and
# what the copy came to goes back without that.
set -euo pipefail

root=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
ours=$(go list -m -f '{{.Path}}={{.Dir}}') # those of go.work
export GOWORK=off GOFLAGS=-mod=mod

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
	for m in $ours; do go mod edit -replace "$m" "$tmp/go.mod"; done
	go mod tidy -modfile="$tmp/go.mod"
	for m in $ours; do
		path=${m%%=*}
		go mod edit -dropreplace "$path" "$tmp/go.mod"
		# A version of ours that is on no proxy would break every go get.
		if grep -q "$path v0.0.0" "$tmp/go.mod"; then
			go mod edit -droprequire "$path" "$tmp/go.mod"
		fi
	done
	cp "$tmp/go.mod" go.mod
	if [ -s "$tmp/go.sum" ]; then cp "$tmp/go.sum" go.sum; else rm -f go.sum; fi
done
