# Two commands are enough: `make run` to see it work, `make test` to know that it does.

.DEFAULT_GOAL := help
SHELL := /bin/bash -euo pipefail

GO   ?= go
TOOL := $(GO) tool -modfile=tools/go.mod

# The race detector needs a C compiler. The product does not. SQLite is C translated to Go, behind its own
# locks: to watch each of its accesses takes three times as long and says nothing about us.
RACE := $(shell command -v "$$($(GO) env CC)" >/dev/null && \
	echo -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build, and start the demo on the embedded store
	./bin/atlas-webhooks demo

.PHONY: build
build: ## build bin/atlas-webhooks
	@[ -x bin/atlas-webhooks ] || echo "building bin/atlas-webhooks: seconds, the first time minutes" >&2
	@CGO_ENABLED=0 $(GO) build -v -trimpath -o bin/atlas-webhooks ./cmd/atlas-webhooks 2>&1 | $(PROGRESS) >&2

# What go build -v says, counted: in place on a terminal, else now and then. What is no name of a package is
# an error, or a download, and is said as it is.
PROGRESS = { n=0; while IFS= read -r line; do case "$$line" in *[[:space:]:\#]*) printf '%s\n' "$$line"; continue;; esac; n=$$((n+1)); \
	if [ -t 2 ]; then printf '\r\033[K  compiled %d packages, now %s' "$$n" "$$line"; elif [ $$((n%100)) = 0 ]; then echo "  compiled $$n packages"; fi; done; \
	if [ -t 2 ] && [ "$$n" -gt 0 ]; then printf '\r\033[K'; fi; }

.PHONY: test
test: ## everything that CI runs
	@$(MAKE) --no-print-directory -j2 check installed
	@$(MAKE) --no-print-directory sdk-python sdk-typescript unit

# Packages come over the network, one after the other: two installations at once wait for one lock.
.PHONY: installed
installed: ## what the tests need beside Go, where it is missing
	@for what in redis browser postgres mariadb brokers poolers languages peers; do $(MAKE) --no-print-directory $$what || exit; done

.PHONY: browser
browser: ## install chromium, in which the console is tested, where it is missing (Debian, as root)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
		echo "no chromium: the tests that need it are skipped"

.PHONY: postgres
postgres: ## install Postgres, on which the store is tested too, where it is missing (Debian, as root)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null; } || \
		echo "no postgres: the tests that need it are skipped"

.PHONY: mariadb
mariadb: ## install MariaDB, on which the outbox of producers is tested too, where it is missing (Debian, as root)
	@command -v mariadb-install-db >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core >/dev/null; } || \
		echo "no mariadb: the tests that need it are skipped"

# Brokers that events are taken from in tests, below bin/brokers; each is a process of a test's own.
NATS  := v2.15.3
KAFKA := 4.4.0

# Erlang, as the Debian packages have it, and what it looks for below its own root.
RABBITMQ := erlang-base erlang-asn1 erlang-crypto erlang-public-key erlang-mnesia erlang-runtime-tools erlang-ssl erlang-eldap erlang-ftp \
	erlang-tftp erlang-inets erlang-snmp erlang-os-mon erlang-parsetools erlang-syntax-tools erlang-tools erlang-xmerl socat rabbitmq-server

.PHONY: brokers
brokers: ## install NATS, Kafka and RabbitMQ, of which events are taken in tests, into bin/brokers, where they are missing (Debian)
	@mkdir -p bin/brokers; [ "$$(cat bin/brokers/nats 2>/dev/null)" = "$(NATS)" ] || { cd / && GOFLAGS=-mod=mod GOBIN="$(CURDIR)/bin/brokers" $(GO) install github.com/nats-io/nats-server/v2@$(NATS) && \
		echo "$(NATS)" >"$(CURDIR)/bin/brokers/nats"; } || echo "no NATS: the tests that need it are skipped"
	@[ "$$(cat bin/brokers/kafka/installed 2>/dev/null)" = "$(KAFKA)" ] || { \
		{ command -v mvn >/dev/null && command -v java >/dev/null; } || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jdk-headless maven >/dev/null; } && \
		rm -rf bin/brokers/kafka && mvn -q -B -f internal/source/brokertest/kafka.xml -Dkafka=$(KAFKA) -Dinto="$(CURDIR)/bin/brokers/kafka" process-sources && \
		echo "$(KAFKA)" >bin/brokers/kafka/installed; } || echo "no Kafka: the tests that need it are skipped"
	@[ -e bin/brokers/rabbitmq/installed ] || { command -v apt-get >/dev/null && rm -rf bin/brokers/rabbitmq && mkdir -p bin/brokers/rabbitmq/packages && cd bin/brokers/rabbitmq && \
		(cd packages && { apt-get download -qq $(RABBITMQ) 2>/dev/null || { apt-get update -qq && apt-get download -qq $(RABBITMQ); }; } && for p in *.deb; do dpkg -x $$p ..; done) && rm -r packages && \
		sed -i "s|/usr/lib/erlang|$$PWD/usr/lib/erlang|" usr/lib/erlang/bin/erl usr/lib/erlang/bin/start usr/lib/erlang/erts-*/bin/erl usr/lib/erlang/erts-*/bin/start && \
		touch installed; } || echo "no RabbitMQ: the tests that need it are skipped"

.PHONY: poolers
poolers: ## install what stands before Postgres in tests, where it is missing (Debian, as root)
	@for p in pgbouncer haproxy pgpool; do command -v $$p >/dev/null || [ -x /usr/sbin/$$p ] || missing=1; done; \
		[ -z "$${missing:-}" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer haproxy pgpool2 >/dev/null; } || \
		echo "no poolers: the tests that need them are skipped"

.PHONY: languages
languages: ## install PHP, Ruby and Mono, in which snippets of the docs are tested, where they are missing (Debian, as root)
	@for p in php ruby mcs mono; do command -v $$p >/dev/null || missing=1; done; \
		[ -z "$${missing:-}" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends php-cli ruby mono-mcs mono-runtime >/dev/null; } || \
		echo "not all languages: the snippets in those that are missing are not tested"

# Servers in Python, and a client of an agent, as their users install them.
SERVERS := uvicorn==0.38.0 hypercorn==0.18.0 gunicorn==23.0.0 mcp==2.3.0

.PHONY: peers
peers: ## install the HTTP servers and the proxy that deliveries are tested against, where they are missing (Debian, as root)
	@for p in openssl nginx apache2 haproxy starman node tinyproxy; do command -v $$p >/dev/null || [ -x /usr/sbin/$$p ] || missing=1; done; \
		[ -z "$${missing:-}" ] && python3 -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			openssl nginx-light apache2-bin haproxy starman $$(command -v node >/dev/null || echo nodejs) tinyproxy-bin python3-venv >/dev/null; } || \
		echo "not all servers: the tests that need them are skipped"
	@[ "$$(cat bin/servers/installed 2>/dev/null)" = "$(SERVERS)" ] || { rm -rf bin/servers && python3 -m venv bin/servers && \
		bin/servers/bin/pip install --quiet --disable-pip-version-check $(SERVERS) && echo "$(SERVERS)" >bin/servers/installed; } || \
		echo "no servers in Python: the tests that need them are skipped"

.PHONY: tls-stacks
tls-stacks: ## install the TLS servers that tests deliver to, where they are missing (Debian, as root)
	@for p in openssl gnutls-serv nginx apache2 haproxy stunnel4 node java; do command -v $$p >/dev/null || [ -x /usr/sbin/$$p ] || missing=1; done; \
		[ -z "$${missing:-}" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			openssl gnutls-bin nginx-light apache2-bin haproxy stunnel4 $$(command -v node >/dev/null || echo nodejs) openjdk-17-jdk-headless >/dev/null; } || \
		echo "no TLS servers: the tests that need them are skipped"

.PHONY: unit
unit: browser postgres mariadb brokers poolers languages peers ## the tests alone, with the race detector where there is a C compiler
	$(if $(RACE),,@echo "no C compiler: running without the race detector")
	$(if $(RACE),$(GO) test -run '^TestSimulation' ./internal/deliver)
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -shuffle=on -timeout 25m $(LONGEST) ./...

# The packages whose tests take longest begin first, so that none of them is alone at the end; that of the store,
# which syncs without a pause, not beside the leases of nodes.
LONGEST := ./internal/deliver ./internal/proof

.PHONY: redis
redis: ## install Redis, in which receivers remember in tests, where it is missing (Debian, as root)
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } || \
		echo "no redis: the tests that need it are skipped"

.PHONY: sdk-python
sdk-python: redis ## the tests of sdk/python, in an environment of their own; skipped where there is no Python, or no registry
	@command -v python3 >/dev/null && python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || { echo "no Python from 3.9 on: sdk/python is not tested"; exit 0; }; \
		cmp -s sdk/python/requirements-test.txt bin/sdk/python/installed || { rm -rf bin/sdk/python && python3 -m venv bin/sdk/python && \
		bin/sdk/python/bin/pip install --quiet --disable-pip-version-check --no-compile -r sdk/python/requirements-test.txt && cp sdk/python/requirements-test.txt bin/sdk/python/installed; } || { \
		bin/sdk/python/bin/pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --dest bin/sdk/reached pip >/dev/null 2>&1 && exit 1; \
		echo "the registry of Python's packages cannot be reached: sdk/python is not tested"; exit 0; }; \
		cd sdk/python && ../../bin/sdk/python/bin/mypy && ../../bin/sdk/python/bin/python -m pytest

.PHONY: sdk-typescript
sdk-typescript: redis ## the tests of sdk/typescript, with what they need from the registry; skipped where there is no npm, or no registry
	@command -v npm >/dev/null && node -e 'process.exit(+(parseInt(process.versions.node) < 18))' || { echo "no npm, or Node.js before 18: sdk/typescript is not tested"; exit 0; }; \
		cd sdk/typescript && { cmp -s package-lock.json node_modules/installed || { npm ci --silent --ignore-scripts && cp package-lock.json node_modules/installed; } || { \
		npm view --silent --prefer-online typescript version >/dev/null 2>&1 && exit 1; \
		echo "the registry of npm cannot be reached: sdk/typescript is not tested"; exit 0; }; } && \
		npm test --silent

.PHONY: sdk
sdk: sdk-python sdk-typescript ## build the packages of Python (sdist, wheel) and npm (tarball) into bin/sdk/dist, and use what was built
	rm -rf bin/sdk/dist && mkdir -p bin/sdk/dist
	bin/sdk/python/bin/pip install --quiet --disable-pip-version-check --no-compile build==1.3.0 flit_core==3.12.0
	bin/sdk/python/bin/python -m build --no-isolation --outdir bin/sdk/dist sdk/python >/dev/null
	cd sdk/typescript && npm pack --silent --pack-destination ../../bin/sdk/dist
	sh sdk/use.sh bin/sdk/dist bin/sdk/python/bin/python

.PHONY: quick
quick: ## what a change needs, within two minutes: format, vet, import table, tests of the packages that changed (SINCE=HEAD)
	@files=$$({ git diff --name-only --diff-filter=d $(or $(SINCE),HEAD) -- '*.go'; git ls-files --others --exclude-standard '*.go'; } | sort -u); \
		[ -n "$$files" ] || { echo "no Go file changed since $(or $(SINCE),HEAD)"; exit 0; }; \
		unformatted=$$($(TOOL) gofumpt -l $$files); [ -z "$$unformatted" ] || { echo "not formatted, run 'make format':"; echo "$$unformatted"; exit 1; }; \
		packages=$$(for f in $$files; do echo "./$$(dirname $$f)"; done | sort -u); \
		$(GO) vet $$packages; \
		$(GO) test -run '^TestImports' ./internal/app; \
		long=$$(echo "$$packages" | grep -x ./internal/proof || true); [ -z "$$long" ] || echo "left to 'make test': $$long"; \
		packages=$$(echo "$$packages" | grep -vx ./internal/proof || true); \
		[ -z "$$packages" ] || $(GO) test -short -skip '^TestSimulation|^TestPostgres' -timeout 100s $$packages

.PHONY: test-full
test-full: tls-stacks ## the long variants of the tests too; minutes to hours
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -shuffle=on -tags full -timeout 6h ./...

.PHONY: check
check: ## format, vet, lint, import table, dead code
	@unformatted=$$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0r $(TOOL) gofumpt -l); \
		if [ -n "$$unformatted" ]; then echo "not formatted, run 'make format':"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) golangci-lint run
	$(GO) test -run '^TestImports' ./internal/app
	@dead=$$($(TOOL) deadcode -test ./... | grep -v ': unreachable func: Example' || true); \
		if [ -n "$$dead" ]; then echo "reached neither by a program nor by a test:"; echo "$$dead"; exit 1; fi

.PHONY: format
format: ## format all Go files
	git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0r $(TOOL) gofumpt -w

.PHONY: generate
generate: ## write what is generated: docs, the API's document
	$(GO) test -run '^TestReference$$' ./internal/config -update
	$(GO) test -run '^TestDocumentIsTheCommittedOne$$' ./internal/httpapi -update
	$(GO) test -run '^Test(Operations|WorkedExample|Metrics)$$' ./docs -update

.PHONY: pictures
pictures: browser ## take the pictures of the console in docs/images anew, from a real run
	$(GO) test -count=1 -run '^TestPictures$$' ./internal/console -update

.PHONY: bench
bench: build ## load on a server of its own: deliveries a second, latency, CPU, memory; STORE=postgres, NODES=1,2,3
	./bin/atlas-webhooks bench $(if $(STORE),--store $(STORE)) $(if $(NODES),--nodes $(NODES))

.PHONY: bench-crowd
bench-crowd: build ## what 100,000 quiet companies cost; STORE=postgres, CROWD=20000, AGAINST=<commit> measures that build too
	$(if $(AGAINST),rm -rf bin/against && mkdir -p bin/against && git archive $(AGAINST) | tar -x -C bin/against && cd bin/against && $(GO) build -o ../atlas-webhooks-against ./cmd/atlas-webhooks && rm -rf ../against)
	./bin/atlas-webhooks bench --crowd $(or $(CROWD),100000) $(if $(STORE),--store $(STORE)) $(if $(AGAINST),--against bin/atlas-webhooks-against)

.PHONY: microbench
microbench: ## benchmarks of single functions
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities in what the binary calls; needs the database on the network
	$(TOOL) govulncheck ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
