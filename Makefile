# What is needed: Go, make, git; gcc for the race detector. Everything else is
# fetched at a pinned version, or its absence is said and it is skipped.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

GO      ?= go
VERSION ?= $(patsubst v%,%,$(shell git describe --tags --dirty 2>/dev/null || echo 0.0.0-dev))
TOOLS   := $(CURDIR)/bin/tools

GOLANGCI_LINT := v2.13.2
# The last release whose dependencies the module proxy serves.
GOVULNCHECK   := v1.8.0

FUZZTIME ?= 20s
# The race detector needs a C compiler.
RACE     ?= $(shell command -v $$($(GO) env CC) >/dev/null 2>&1 && echo -race)

.PHONY: help build test chaos kubernetes e2e e2e-cluster test-v2 cluster lint vet vuln fmt docs demo bench-images bench-scan bench-service bench-sse bench-rdev bench-gate bench-oom bench-explain fuzz clean

help: ## Say what there is to make
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## Build bin/stella and bin/stellad as they are shipped
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

# These run the program as it is released; what of it is under the race detector
# would be the making of their images, four times slower.
OUTSIDE := stella/bench|stella/test/hostile
# This kills a thousand processes in ten seconds; beside other tests that kill, whose
# is whose would follow from the time alone.
# This has a hundred commands print as fast as they can, and test/gate looks whether a file is gone within seconds.
ALONE := stella/test/gate|stella/test/oom|stella/test/rdev

test: ## Run all tests that run quickly, with the race detector; as root also those that need cgroups
	@if [ -z '$(RACE)' ]; then echo 'test: skipped: the race detector, for want of a C compiler ($(shell $(GO) env CC))'; fi
	@if [ "$$(id -u)" != 0 ]; then echo 'test: skipped: what only root may do (memory cgroups), unless they are delegated to this user'; fi
	$(GO) test $(RACE) -timeout 15m $$($(GO) list ./... | grep -vxE '$(OUTSIDE)|$(ALONE)')
	$(GO) test -timeout 15m $(subst |, ,$(OUTSIDE))
	$(GO) test -p 1 -timeout 15m $(subst |, ,$(ALONE))

chaos: ## Kill workers, stellad and the power, during ten thousand scans on each database (minutes)
	$(GO) test -count=1 -v -timeout 30m ./test/chaos -full

# What tests Kubernetes is a module of its own. Without cgo and with -trimpath it
# shares compiled packages with the Kubernetes that it builds.
CLUSTER := cd test/cluster && CGO_ENABLED=0 GOFLAGS=-trimpath

kubernetes: ## Build Kubernetes into the cache, once: minutes
	@$(CLUSTER) $(GO) run ./up -build

e2e: e2e-cluster test-v2 ## Run the tests that need a real Kubernetes, on this machine and in one with cgroup v2

e2e-cluster: kubernetes ## Of e2e, what runs on this machine
	@$(CLUSTER) $(GO) test -count=1 -timeout 15m -parallel 8 ./...

# What a node takes, beside Kubernetes, that is not in a machine of test/vm as it is.
NODE := -with containerd,containerd-shim-runc-v2,ctr,runc,nsenter,mount,umount -file /usr/lib/cni -modules overlay,bridge,veth

test-v2: kubernetes ## Of e2e, what runs in an emulated machine that has only cgroup v2
	@if ! command -v qemu-system-x86_64 >/dev/null; then \
		if [[ ",$$STELLA_REQUIRE," == *,qemu-system-x86_64,* ]]; then echo 'test-v2: QEMU is required, and not here (Debian package qemu-system-x86)'; exit 1; fi; \
		echo 'test-v2: skipped: there is no QEMU (Debian package qemu-system-x86)'; exit 0; \
	fi; \
	CGO_ENABLED=0 $(GO) build -o bin/vm ./test/vm; \
	($(CLUSTER) $(GO) run ./up -programs '$(CURDIR)/bin/programs'); \
	export CGO_ENABLED=0 STELLA_TEST_PROGRAMS='$(CURDIR)/bin/programs' STELLA_REQUIRE=cgroup-v2,cgroup-v2-mount,cni-plugins,containerd,bpf,disk,memory-cgroup,namespaces,nsenter,own-machine,root,runc,tracefs; \
	$(GO) test -count=1 -exec '$(CURDIR)/bin/vm' ./internal/cgroup ./internal/scanner/worker ./internal/oom/counters ./internal/oom/trace ./internal/oom/tree ./internal/oom/victims; \
	disk=$$(mktemp); trap 'rm -f "$$disk"' EXIT; truncate -s 256M "$$disk"; \
	$(GO) test -count=1 -timeout 20m -skip TestWitnesses -exec "$(CURDIR)/bin/vm -memory 768 -timeout 19m -disk $$disk" ./test/oom -storm 2; \
	$(CLUSTER) $(GO) test -count=1 -timeout 25m -parallel 8 -run '^(TestKills|TestAgent)$$' -exec '$(CURDIR)/bin/vm -memory 4096 -timeout 24m -file $(CURDIR)/bin/programs -file $(CURDIR)/deploy $(NODE)' .

cluster: kubernetes ## Hold a cluster until Ctrl-C, for a person
	@$(CLUSTER) $(GO) run ./up

vet: ## Run go vet
	$(GO) vet ./...
	cd bench/sse/peers && $(GO) vet ./...
	cd test/cluster && $(GO) vet ./...
	cd test/cluster/kubernetes && $(GO) vet ./...

fmt: ## Format all Go files
	gofmt -w $$(git ls-files '*.go')

lint: ## Run golangci-lint, at a pinned version
	@$(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT),$(GOLANGCI_LINT))
	@if [ -x '$(TOOLS)/golangci-lint-$(GOLANGCI_LINT)' ]; then \
		for module in . bench/sse/peers test/cluster test/cluster/kubernetes; do \
			(cd $$module && '$(TOOLS)/golangci-lint-$(GOLANGCI_LINT)' run --config '$(CURDIR)/.golangci.yml' --timeout 10m ./...); \
		done; \
	else echo 'lint: skipped: golangci-lint $(GOLANGCI_LINT) cannot be had here'; fi

vuln: ## Look for known vulnerabilities in what is linked
	@$(call tool,govulncheck,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK),$(GOVULNCHECK))
	@if [ -x '$(TOOLS)/govulncheck-$(GOVULNCHECK)' ]; then \
		code=0; out=$$('$(TOOLS)/govulncheck-$(GOVULNCHECK)' ./cmd/... 2>&1) || code=$$?; \
		if [ $$code = 1 ] && grep -q 'fetching vulnerabilities' <<<"$$out"; then \
			echo "vuln: skipped: the database cannot be had here ($${out##*govulncheck: })"; \
		else echo "$$out"; exit $$code; fi; \
	else echo 'vuln: skipped: govulncheck $(GOVULNCHECK) cannot be had here'; fi

docs: ## Write the parts of docs/ that are made from the code
	$(GO) test ./internal/cli ./internal/telemetry -run TestDocs -update

demo: build ## Scan a real image, made from this machine's packages, in 32 MiB
	$(GO) run ./bench/demo -stella bin/stella

bench-images: ## Make the images that stella is measured on (large: root, network, an hour)
	for kind in small medium large wide manyfiles; do $(GO) run ./bench/mkimage $$kind; done

bench-scan: ## Measure stella, the floor and the peers on the same images (root, hours)
	for kind in small medium large wide manyfiles; do $(GO) run ./bench/scanbench -o markdown $$kind; done

bench-service: ## Measure what the service costs beside the scans, and how it takes fifty kills (root, minutes, on a quiet machine)
	$(GO) run ./bench/servicebench
	$(GO) test -count=1 -v ./test/storm -alone

bench-oom: ## Measure the agent: from a kill to the ledger, a large log, 500 containers, and other tools on the same kills (root, half an hour, on a quiet machine)
	$(GO) test -count=1 -v -timeout 1h -run 'TestWitnesses|TestBench' ./test/oom -bench-oom | grep --line-buffered -vE '^(=== | *--- |PASS$$|ok )'

bench-sse: ## Measure what subscribers of a command's output cost, beside three other ways to serve them (a quarter of an hour, on a quiet machine)
	$(GO) run ./bench/sse

bench-rdev: ## Let a hundred commands print 10 GB through rdev-api, and send it 200,000 requests (minutes, on a quiet machine)
	$(GO) test -count=1 -v -timeout 30m -run 'TestFlood|TestSoak' ./test/rdev -bench-rdev | grep --line-buffered -vE '^(=== | *--- |PASS$$|ok )'

# Its files are in a tmpfs, as /var/run is on a node: each look writes one, and waits until it is on the disk.
bench-gate: ## Let the reboot gate look 100,000 times at a small cluster and 1,000 times at a large one, and at what fails; beside it the loop with kubectl (root, an hour, on a quiet machine)
	TMPDIR=/dev/shm $(GO) test -count=1 -v -timeout 3h -run 'TestMemory|TestIdle|TestFaults|TestEnds|TestBesideKubectl' ./test/gate -bench-gate | grep --line-buffered -vE '^(=== | *--- |PASS$$|ok )'

bench-explain: ## Play 360 workloads in memory cgroups, and hold what explain says of them against what they were (root, three minutes)
	$(GO) test -count=1 -v -timeout 30m -run TestFigures ./test/explain -bench-explain | grep --line-buffered -vE '^(=== | *--- |PASS$$|ok )'

fuzz: ## Run every fuzz target for FUZZTIME
	@for module in . test/cluster; do cd '$(CURDIR)'/$$module; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "fuzz: $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package; \
		done; \
	done; done

clean: ## Remove what was built, but not the benchmark's images
	rm -rf bin

# tool installs a Go program at a pinned version, under a name that has the version in it.
# $(1) name, $(2) package@version, $(3) version
define tool
if [ ! -x '$(TOOLS)/$(1)-$(3)' ]; then \
	mkdir -p '$(TOOLS)'; \
	echo '$(1): installing $(3)'; \
	if GOBIN='$(TOOLS)' GOFLAGS= $(GO) install $(2) >'$(TOOLS)/$(1).log' 2>&1; then \
		mv '$(TOOLS)/$(1)' '$(TOOLS)/$(1)-$(3)'; \
	else tail -n 1 '$(TOOLS)/$(1).log'; fi; \
fi
endef
