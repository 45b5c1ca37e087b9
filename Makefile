# Needs Python 3.11 or newer, make and git; everything else is set up by the targets themselves.
PYTHON ?= python3
VENV := .venv/bin/python
# State is kept under var/; VAR=/another/folder is for a second instance.
ifdef VAR
export FIRSTCOME_VAR := $(VAR)
endif
BOOTSTRAP := @$(PYTHON) scripts/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run manage test test-other-servers test-containers verify test-services smoke bench lab simulate chaos soak alerts cluster cluster-status cluster-drill check format openapi reference clients messages docs audit-dependencies sbom fuzz lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start the shop: PORT=8000, DB=sqlite or mariadb, VAR=var
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.run --port "$(PORT)" --db "$(DB)"

manage: ## a management command in that environment: ARGS="audit --json"
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.manage --port "$(PORT)" --db "$(DB)" $(ARGS)

test: ## the first group of tests on throwaway servers, then the embedded smoke; ARGS="coupons -k race" goes to pytest instead; CIRCLE=other or long, PART=3/12; DB=mariadb, mysql or mariadb-next
	$(BOOTSTRAP) $(if $(CIRCLE)$(ARGS)$(filter-out mariadb,$(DB)),tests,test) $(if $(filter-out mariadb,$(DB)),debootstrap)
	@exec $(VENV) -m scripts.suite --db "$(DB)" --circle "$(CIRCLE)" --part "$(PART)" $(ARGS)

# Where debootstrap can't be installed, the command itself names the servers that it doesn't meet.
test-other-servers: ## races, crashes, transactions, idempotency, migrations and backups on MySQL and on the next MariaDB, as root; PART=3/12
	$(BOOTSTRAP) tests
	-$(BOOTSTRAP) tests debootstrap
	@exec $(VENV) -m scripts.suite --other-servers --part "$(PART)"

verify: ## what takes too long for each change, some hours, and a table in the end, in which NOT RUN is what this machine can't: ONLY=containers,fuzz SEED=...
	$(BOOTSTRAP) tests
	@exec $(VENV) -m lab.verify --only "$(ONLY)" --seed "$(SEED)"

test-containers: ## the images and the compose file on a Docker engine of its own, as root: kills, an update, stops, a restore; NOT RUN where it can't; KEEP=1 leaves it up
	$(BOOTSTRAP) containers
	@exec $(VENV) -m lab.containers --keep "$(KEEP)"

test-services: ## keep the throwaway servers up, to run pytest by hand: DB=mariadb, mysql or mariadb-next
	$(BOOTSTRAP) tests $(if $(filter-out mariadb,$(DB)),debootstrap)
	@exec $(VENV) -m scripts.stack.throwaway --db "$(DB)"

smoke: ## boot the embedded stack, sell something, stop: DB=sqlite or mariadb
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.smoke --db "$(DB)"

bench: ## coupons and orders a second on a fresh MariaDB: QUICK=1, AGAINST=commit (beside that one), ROWS=coupon,board (these alone), ROUNDS=5
	$(BOOTSTRAP) bench
	@exec $(VENV) -m lab.bench --quick "$(QUICK)" --against="$(AGAINST)" --rows "$(ROWS)" --rounds "$(ROUNDS)"

lab: ## compare all strategies by k6, one report: STRATEGIES=a,b SCENARIO=race,crowd QUICK=1 OUT=folder
	$(BOOTSTRAP) bench
	@exec $(VENV) -m lab.compare --strategies "$(STRATEGIES)" --scenario "$(SCENARIO)" --quick "$(QUICK)" --out "$(OUT)"

simulate: ## seeded runs of all processes in one thread, with crashes at any statement: SECONDS=180, SEED=4 or 4.17, PLANTED=early-reply; EXAMPLES=200 of the state machine of orders afterwards
	$(BOOTSTRAP) $(if $(EXAMPLES),tests,check)
	@exec $(VENV) -m lab.simulation --seconds "$(SECONDS)" --seed "$(SEED)" --planted "$(PLANTED)"
	$(if $(EXAMPLES),@INTERLEAVINGS="$(EXAMPLES)" exec $(VENV) -m scripts.suite orders/tests/test_state_machine.py -q --hypothesis-seed=$(or $(SEED),0))

chaos: ## crashes under load on a stack of its own: DB=sqlite or mariadb, BROKER=redis or rabbitmq, SECONDS=60, SEED=...; or CAMPAIGN=one of those in docs/reliability.md or all, then also QUICK=1 (fewer, shorter faults), PLANTED=1 (with its planted defect)
	$(BOOTSTRAP) $(if $(CAMPAIGN),campaign,$(if $(filter mariadb,$(DB)),mariadb,run))
	@exec $(VENV) -m lab.chaos --campaign "$(or $(CAMPAIGN),chaos)" --quick "$(QUICK)" --planted "$(PLANTED)" --part "$(PART)" --db "$(DB)" --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)"

soak: ## ten minutes of buying, refunding and faults on a stack of its own: SECONDS=600, SEED=..., BROKER=redis or rabbitmq
	$(BOOTSTRAP) soak
	@exec $(VENV) -m lab.chaos --campaign soak --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)"

alerts: ## make each alert fire once by a real cause, and clear, on a stack of its own: ALERTS=BeatSilent,EventsDead
	$(BOOTSTRAP) alerts
	@exec $(VENV) -m lab.alerts --alerts "$(ALERTS)"

cluster: ## run the shop on a cluster of each server, as root: PORT=21000 (the first of 64), VAR=var
	$(BOOTSTRAP) cluster
	@exec $(VENV) -m lab.cluster --port "$(PORT)"

cluster-status: ## the members of the running cluster, their roles, lag and routes; exit code 1 when one is missing: JSON=1, VAR=var
	@exec $(VENV) -m lab.cluster.status $(if $(JSON),--json)

cluster-drill: ## faults of a cluster of its own under load, as root, and a table of outages: QUICK=1, SEED=, MINUTES=, ONLY=kill,switchover
	$(BOOTSTRAP) cluster
	@exec $(VENV) -m lab.cluster.drill --seed "$(SEED)" --minutes "$(MINUTES)" --only "$(ONLY)" $(if $(QUICK),--quick)

check: ## formatting, lint, types, layers, migrations, drift of OpenAPI and reference, generation of the Python client, translations, alerting rules
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.check

format: ## let ruff format and fix what it can
	$(BOOTSTRAP) check
	@$(VENV) -m ruff format . && $(VENV) -m ruff check --fix .

openapi: ## generate docs/openapi.yaml, and docs/reference
	$(BOOTSTRAP) check
	@$(VENV) -m scripts.check --write openapi
	@exec $(VENV) -m scripts.check --write reference

reference: ## generate the API, settings and commands in docs/reference
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.check --write reference

clients: ## generate from docs/openapi.yaml what clients/ needs and git ignores: the package for Python, the types for TypeScript
	$(BOOTSTRAP) tests
	@exec $(VENV) -m scripts.clients

messages: ## extract the texts that are translated, and compile the catalogs
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.catalogs

docs: ## build the documentation and serve it: PORT=8009, VAR=var
	$(BOOTSTRAP) docs
	@exec $(VENV) -m scripts.docs_site --port "$(PORT)"

LOCK := @$(VENV) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
lock: ## pin what pyproject.toml names; UPGRADE=--upgrade takes the newest versions
	$(BOOTSTRAP) check
	$(LOCK) $(UPGRADE) pyproject.toml --extra embedded --extra simulators -o requirements-embedded.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra mysql --extra traces --extra simulators -c requirements-embedded.txt -o requirements.txt
	$(LOCK) $(UPGRADE) --group dev -c requirements-embedded.txt -o requirements-dev.txt
	$(LOCK) $(UPGRADE) --group test -c requirements-embedded.txt -c requirements-dev.txt -o requirements-test.txt

audit-dependencies: ## known vulnerabilities of every pinned package; exit code 2 where they can't be looked up: SERVICE=osv or pypi, OSV_URL=
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.supply.audit --service "$(SERVICE)" --osv-url "$(OSV_URL)"

sbom: ## the CycloneDX bill of materials of requirements.txt: OUT=var/sbom.cdx.json
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.supply.sbom --out "$(OUT)"

fuzz: ## odd requests to a stack of its own, by the OpenAPI document, by forms of operators and by raw bytes: SECONDS=600, SEED=, DB=mariadb or sqlite
	$(BOOTSTRAP) bench
	@exec $(VENV) -m lab.fuzz --db "$(DB)" --seconds "$(SECONDS)" --seed "$(SEED)"
