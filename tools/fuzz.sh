#!/bin/bash
# fuzz.sh TIME MODULE... runs every fuzz target of the modules for TIME, one after
# the other. It goes on after a failure and ends with the list of what failed.
set -euo pipefail

time=$1
shift
top=$PWD
failed=()
count=0
for module in "$@"; do
	cd "$top/$module"
	# Each line is a package's import path and its directory.
	while read -r package dir; do
		for target in $(cat "$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Z_][A-Za-z0-9_]*\)(.*\*testing\.F).*/\1/p'); do
			count=$((count + 1))
			echo "== $target in $package"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || failed+=("$target in $package")
		done
	done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)
done

echo
echo "$count fuzz targets, ${#failed[@]} failed"
if [ ${#failed[@]} -gt 0 ]; then
	printf '  %s\n' "${failed[@]}"
	exit 1
fi
