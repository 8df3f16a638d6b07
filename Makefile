# What developers and CI run. It needs go and make, and gcc for the race detector
# and for the tests that build cgo programs.

MODULES   := . cmd e2e integrations/caddy integrations/grpc integrations/otel integrations/prometheus tools
FUZZTIME  ?= 10s
# A slice of the releases that make layouts builds probes of, to compare with.
RELEASES  ?= go1.20.14,go1.26.8,go1.27.4

comma := ,
space := $(subst ,, )
MODULE_LIST := $(subst $(space),$(comma),$(MODULES))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/heapwright
	go build -o bin/heapwright ./cmd/heapwright

.PHONY: demo
demo: build ## the product on a real server, in minutes, on this machine
	bin/heapwright demo

.PHONY: test
test: ## the tests of all modules, with the race detector; what failed and passed when run again, and what was skipped and why
	go run ./tools/testsum -modules $(MODULE_LIST) -race .,cmd,integrations/grpc,integrations/otel,integrations/prometheus,tools -waiting cmd -again -- -timeout=45m ./...

.PHONY: e2e-long
e2e-long: ## the end-to-end tests, with those that take long
	HEAPWRIGHT_E2E_LONG=1 go run ./tools/testsum -modules e2e -- -timeout=3h ./...

.PHONY: subjects
subjects: ## build the real servers of the end-to-end tests ahead (ten minutes, once)
	go -C e2e run ./cmd/subjects build

.PHONY: effect
effect: build ## what being recorded costs a program: throughput with and without, in pairs (2 minutes, on a quiet machine)
	go -C e2e run ./cmd/effect -heapwright $(CURDIR)/bin/heapwright

.PHONY: twin
twin: build ## how far the twin's forecasts are from what happens: run programs under many settings, on a quiet machine, and score (hours)
	go -C e2e run ./cmd/twin collect -heapwright $(CURDIR)/bin/heapwright
	go -C e2e run ./cmd/twin score

.PHONY: twin-score
twin-score: ## the same, of the recordings that make twin left in the cache
	go -C e2e run ./cmd/twin score

.PHONY: tune-bench
tune-bench: build ## what the plans of heapwright tune gain against what others would set, on real servers in a memory cgroup, on a quiet machine (35 minutes)
	go -C e2e run ./cmd/gain run -heapwright $(CURDIR)/bin/heapwright

.PHONY: honesty
honesty: build ## how often the verdicts of heapwright compare are wrong: experiments of which the truth is known, on a quiet machine (50 minutes)
	go -C e2e run ./cmd/honesty run -heapwright $(CURDIR)/bin/heapwright

.PHONY: peers
peers: ## what guards a service better against faults: Heapwright, what others offer, or nothing; as root, on a quiet machine (2 hours)
	go -C e2e run ./cmd/peers healthy
	go -C e2e run ./cmd/peers run -within 1h
	go -C e2e run ./cmd/peers report

.PHONY: oom
oom: ## a service that the kernel's OOM killer takes, and the same guarded, 20 times each, as root (10 minutes)
	go -C e2e run ./cmd/peers oom -runs 20

.PHONY: faults
faults: build ## what heapwright leaks and the black box find in programs of which the truth is known: found, false alarms, causes; some of it as root (25 minutes)
	go -C e2e run ./cmd/faults run -heapwright $(CURDIR)/bin/heapwright -again

.PHONY: oomkills
oomkills: build ## 62 real OOM kills in memory cgroups, and what the black box had from before each, as root (5 minutes)
	go -C e2e run ./cmd/oomkills -heapwright $(CURDIR)/bin/heapwright

.PHONY: horizon
horizon: build ## forecasts of the memory limit, held against real programs that the kernel kills and that it does not, as root (30 minutes)
	go -C e2e run ./cmd/horizon -heapwright $(CURDIR)/bin/heapwright

.PHONY: retain
retain: build ## who keeps what, by heapwright, by programs of known shape, and by goref where it is in PATH (10 minutes)
	go -C e2e run ./cmd/retain -heapwright $(CURDIR)/bin/heapwright

.PHONY: stress
stress: build ## heapwright stress held against what is known: every fault on real servers, violations and healthy services, with and without a guard, the numbers of a breaker, kills of the tool; as root, on a quiet machine (1 hour)
	go -C e2e run ./cmd/stress faults -heapwright $(CURDIR)/bin/heapwright
	go -C e2e run ./cmd/stress honest -heapwright $(CURDIR)/bin/heapwright
	go -C e2e run ./cmd/stress guarded -heapwright $(CURDIR)/bin/heapwright
	go -C e2e run ./cmd/stress breaker -heapwright $(CURDIR)/bin/heapwright
	go -C cmd test ./internal/chaos/keeper -run TestKill -kills 50 -v -timeout 1h

.PHONY: cgroup2
cgroup2: ## what reads and changes cgroups, on a kernel with cgroup v2 in an emulated machine: tests, stress with real servers, kills of it (needs qemu-system-x86_64; hours on a busy machine)
	go -C e2e run ./cmd/cgroup2

.PHONY: chaos-mesh
chaos-mesh: ## exported workflows held against the types and the validation of Chaos Mesh itself (builds some hundred packages of Kubernetes)
	go -C e2e test -tags chaosmesh ./internal/mesh

.PHONY: agentcost
agentcost: build ## what heapwright serve costs while it watches 100 processes, beside exporters with a Prometheus, and the benchmarks of what keeps and answers; on a quiet machine (20 minutes)
	go -C e2e run ./cmd/agentcost run -heapwright $(CURDIR)/bin/heapwright
	go -C e2e run ./cmd/agentcost run -heapwright $(CURDIR)/bin/heapwright -smaps -for 1m -window 15s -paint=false
	go -C e2e run ./cmd/agentcost bench
	go -C e2e run ./cmd/agentcost report

.PHONY: matrix
matrix: ## read a program built by every Go release in every build mode, and print what was right (long)
	go -C cmd test ./internal/remote -run '^Test(Matrix|Experiments|Settings|Pacer|ARM64.*)$$' -v -timeout=12h -matrix=full

.PHONY: live
live: ## write 10^6 times to processes that allocate, of Go 1.20 to 1.27, and print what came of it (5 minutes)
	go -C cmd test ./internal/live -run '^TestSoak$$' -v -timeout=1h -soak=full

.PHONY: lint
lint: ## gofmt, vet, staticcheck; the repository's own rules are tests (internal/lint)
	@echo gofmt
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	@staticcheck=$$(GOWORK=off go -C tools tool -n staticcheck) && \
	for m in $(MODULES); do \
		echo "vet and staticcheck in $$m"; \
		(cd $$m && go vet ./... && "$$staticcheck" ./...) || exit 1; \
	done; \
	go vet -tags heapwright_invariants $(INSIDE) && "$$staticcheck" -tags heapwright_invariants $(INSIDE)

.PHONY: cross
cross: ## compile for the platforms that are not this one
	GOOS=linux GOARCH=arm64 go vet ./... ./cmd/...
	GOOS=darwin GOARCH=arm64 go vet ./... ./cmd/...
	GOOS=windows GOARCH=amd64 go vet $$(go list ./... | grep -v /examples/)

# What services import, on the oldest and the newest Go that it is for, and with the
# checks that the tag heapwright_invariants builds in.
INSIDE   := ./buffer ./cgroup ./debugz ./groupcommit ./guard/... ./memlimit/... ./metric ./rtmetrics ./scratch
RELEASES_INSIDE ?= go1.24.13 go1.27.4

.PHONY: inside
inside: ## the tests of what services import, with other Go releases, and with the invariants checked
	for v in $(RELEASES_INSIDE); do GOTOOLCHAIN=$$v GOWORK=off go vet ./... && GOTOOLCHAIN=$$v GOWORK=off go test $(INSIDE) || exit 1; done
	go test -tags heapwright_invariants ./buffer ./scratch ./guard/shed

.PHONY: ui
ui: ## the web pages, from TypeScript to what is committed (needs node and npm)
	cd cmd/internal/web/ui && npm ci --ignore-scripts --no-audit --no-fund && npm run build

.PHONY: ui-check
ui-check: ## types and tests of the web pages, and that what is committed is what their sources give
	cd cmd/internal/web/ui && npm ci --ignore-scripts --no-audit --no-fund && npm run check && npm test && npm run build
	@if ! git diff --exit-code --stat -- cmd/internal/web/ui/dist; then \
		echo "the bundle differs from what was committed: run make ui, and commit it"; exit 1; fi

.PHONY: generate
generate: ## everything that go generate makes
	for m in $(MODULES); do go -C $$m generate ./... || exit 1; done

.PHONY: layouts
layouts: ## the layout tables, from the toolchain of every Go release (an hour on 2 cores)
	go run ./tools/layouts

.PHONY: generate-check
generate-check: generate ## generate anew and compare; of the layout tables, the releases in RELEASES
	@if ! git diff --exit-code --stat -- $$(git ls-files ':(attr:linguist-generated)'); then \
		echo "generated files differ from what was committed: commit them, or find out why"; exit 1; fi
	go run ./tools/layouts -check $(RELEASES)

.PHONY: bench
bench: ## all benchmarks, of the packages that have any
	go test -run '^$$' -bench . -benchmem -timeout=3h $(BENCHFLAGS) $$(git grep --untracked -l '^func Benchmark' -- '*_test.go' ':!*/testdata/*' | xargs -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: bench-once
bench-once: ## every benchmark once, the largest on less, so that none rots
	@$(MAKE) --no-print-directory bench BENCHFLAGS="-benchtime=1x -short"

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	tools/fuzz.sh $(FUZZTIME) $(MODULES)

.PHONY: tidy
tidy: ## go mod tidy in every module, around the unpublished root module
	tools/tidy.sh $(MODULES)

.PHONY: clean
clean: ## what make built
	rm -rf bin
