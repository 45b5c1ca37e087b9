# Needs Python 3.11 or newer, make and git; everything else is set up by the targets themselves.
PYTHON ?= python3
VENV := .venv/bin/python
# State is kept under var/; VAR=/another/folder is for a second instance.
ifdef VAR
export FIRSTCOME_VAR := $(VAR)
endif
BOOTSTRAP := @$(PYTHON) scripts/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run manage test test-other-servers test-containers verify test-services smoke bench metrics-cost board-cost sale-load feed-cost webhook-load hot-row staff-pages bulk retention growth lab scale scale-measure scale-lint simulate chaos restore-drill soak alerts screenshots cluster cluster-status cluster-drill check format openapi reference clients schema-changes messages docs dashboards audit-dependencies sbom fuzz mutants lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start the shop: PORT=8000, DB=sqlite or mariadb, VAR=var
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.run --port "$(PORT)" --db "$(DB)"

manage: ## a management command in that environment: ARGS="audit --json"
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.manage --port "$(PORT)" --db "$(DB)" $(ARGS)

test: ## every test but those marked long on throwaway servers, then the embedded smoke; ARGS="coupons -k race" goes to pytest instead; DB=mariadb, mysql or mariadb-next
	$(BOOTSTRAP) test $(if $(filter-out mariadb,$(DB)),debootstrap)
	@exec $(VENV) -m scripts.suite --db "$(DB)" $(ARGS)

# Where debootstrap can't be installed, the command itself names the servers that it doesn't meet.
test-other-servers: ## races, crashes, transactions, idempotency, migrations and backups on MySQL and on the next MariaDB, as root
	$(BOOTSTRAP) test
	-$(BOOTSTRAP) test debootstrap
	@exec $(VENV) -m scripts.suite --other-servers

verify: ## what takes too long for each change, some hours, and a table in the end, in which NOT RUN is what this machine can't: ONLY=containers,fuzz SEED=...
	$(BOOTSTRAP) test
	@exec $(VENV) -m scripts.verify --only "$(ONLY)" --seed "$(SEED)"

test-containers: ## the images and the compose file on a Docker engine of its own, as root: kills, an update, stops, a restore; NOT RUN where it can't; KEEP=1 leaves it up
	$(BOOTSTRAP) containers
	@exec $(VENV) -m scripts.containers --keep "$(KEEP)"

test-services: ## keep the throwaway servers up, to run pytest by hand: DB=mariadb, mysql or mariadb-next
	$(BOOTSTRAP) test $(if $(filter-out mariadb,$(DB)),debootstrap)
	@exec $(VENV) -m scripts.stack.throwaway --db "$(DB)"

smoke: ## boot the embedded stack, sell something, stop: DB=sqlite or mariadb
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.smoke --db "$(DB)"

bench: ## coupons and orders a second on a fresh MariaDB: QUICK=1, AGAINST=commit (beside that one), ROWS=coupon,orders (these alone), ROUNDS=5
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench --quick "$(QUICK)" --against="$(AGAINST)" --rows "$(ROWS)" --rounds "$(ROUNDS)"

metrics-cost: ## the processor time that metrics cost for a coupon, in ROUNDS=10
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.costs.metrics_cost --rounds "$(ROUNDS)"

board-cost: ## the processor time that viewers of the launch board cost a web process, SECONDS=20 for each number
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.costs.board_cost --seconds "$(SECONDS)"

sale-load: ## what 50,000 entries of a sale cost: joins, polls, waits and orders, ACCOUNTS=12000, ROUNDS=3
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.costs.sale_load --accounts "$(ACCOUNTS)" --rounds "$(ROUNDS)"

feed-cost: ## what the event feed costs an order, and its lag behind 10,000 events a second: ROUNDS=6 SECONDS=5 RATE=10000
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.costs.feed_cost --rounds "$(ROUNDS)" --seconds "$(SECONDS)" --rate "$(RATE)"

webhook-load: ## 10,000 events in a minute to 20 webhook endpoints of which 5 hang: EVENTS=10000 SECONDS=60 ENDPOINTS=20 HANGING=5
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.costs.webhook_load --events "$(EVENTS)" --seconds "$(SECONDS)" --endpoints "$(ENDPOINTS)" --hanging "$(HANGING)"

hot-row: ## one hot campaign and product by 1 to 16 web processes and slow commits: WHAT=coupons,orders PROCESSES=1,4 LATENCIES=1,5,20 WAITING=256
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.hot_row --what "$(WHAT)" --processes "$(PROCESSES)" --latencies "$(LATENCIES)" --ways "$(WAYS)" --seconds "$(SECONDS)" --waiting "$(WAITING)"

staff-pages: ## times of the operators' pages and the staff's lists over ROWS=1000000 rows, TIMES=5 each: ORDERS=fewer, FOLDER=… keeps the filled shop, ONLY=orders
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.staff_pages --rows "$(ROWS)" --orders "$(ORDERS)" --times "$(TIMES)" --only "$(ONLY)" --folder "$(FOLDER)"

bulk: ## millions of coupons, and what archiving a month costs beside issuing: ROWS=20000000 MONTHS=20 PAIRS=4 SECONDS=10
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.bulk --rows "$(ROWS)" --months "$(MONTHS)" --pairs "$(PAIRS)" --seconds "$(SECONDS)"

retention: ## 10,000,000 lines of the journal, archived beside sales, checked and restored: ROWS=10000000 PAIRS=4 SECONDS=10
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.retention --rows "$(ROWS)" --pairs "$(PAIRS)" --seconds "$(SECONDS)"

growth: ## bytes of each growing table for an order and a coupon, and what they are in a year, into docs/growth.md: ORDERS=100000
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.bench.growth --orders "$(ORDERS)"

lab: ## compare all strategies by k6, one report: STRATEGIES=a,b SCENARIO=race,crowd QUICK=1 OUT=folder
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.lab --strategies "$(STRATEGIES)" --scenario "$(SCENARIO)" --quick "$(QUICK)" --out "$(OUT)"

scale: ## simulate 1 to 100 nodes and 1 to 64 lanes from the inputs in docs/scale.json, into docs/scale.md
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.scale

scale-measure: ## measure the inputs of that simulation on a fresh MariaDB into docs/scale.json: ONLY=costs or points, QUICK=1
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.scale.measuring --only "$(ONLY)" --quick "$(QUICK)"

scale-lint: ## record the SQL of some tests, and write into docs/scale.md what Vitess and TiDB refuse: MODULES="orders coupons"
	$(BOOTSTRAP) test
	@exec $(VENV) -m scripts.scale.statements --modules "$(MODULES)"

simulate: ## seeded runs of all processes in one thread, with crashes at any statement: SECONDS=180, SEED=4 or 4.17, PLANTED=early-reply; EXAMPLES=200 of the state machine of orders afterwards
	$(BOOTSTRAP) $(if $(EXAMPLES),test,check)
	@exec $(VENV) -m scripts.simulation --seconds "$(SECONDS)" --seed "$(SEED)" --planted "$(PLANTED)"
	$(if $(EXAMPLES),@INTERLEAVINGS="$(EXAMPLES)" exec $(VENV) -m scripts.suite orders/tests/test_state_machine.py -q --hypothesis-seed=$(or $(SEED),0))

chaos: ## crashes under load on a stack of its own: DB=sqlite or mariadb, BROKER=redis or rabbitmq, SECONDS=60, SEED=...; or CAMPAIGN=one of those in docs/reliability.md or all, then also QUICK=1 (fewer, shorter faults), PLANTED=1 (with its planted defect)
	$(BOOTSTRAP) $(if $(CAMPAIGN),campaign,$(if $(filter mariadb,$(DB)),mariadb,run))
	@exec $(VENV) $(if $(CAMPAIGN),-m scripts.chaos.campaigns --campaign "$(CAMPAIGN)" --quick "$(QUICK)" --planted "$(PLANTED)" --seed "$(SEED)",-m scripts.chaos --db "$(DB)" --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)")

restore-drill: ## lose MariaDB under load, restore a backup and the binary log into a second server, and measure: SECONDS=60, SEED=..., ROWS=1000000
	$(BOOTSTRAP) mariadb
	@exec $(VENV) -m scripts.chaos.restore_drill --seconds "$(SECONDS)" --seed "$(SEED)" --rows "$(ROWS)"

soak: ## ten minutes of buying, refunding and faults on a stack of its own: SECONDS=600, SEED=..., DB=mariadb, BROKER=redis or rabbitmq
	$(BOOTSTRAP) $(if $(filter sqlite,$(DB)),run,soak)
	@exec $(VENV) -m scripts.chaos.soak --db "$(DB)" --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)"

alerts: ## make each alert fire once by a real cause, and clear, on a stack of its own: ALERTS=BeatSilent,EventsDead
	$(BOOTSTRAP) alerts
	@exec $(VENV) -m scripts.monitoring.alerts --alerts "$(ALERTS)"

screenshots: ## take the pictures in docs/images again, of a shop of its own: ONLY=board,order
	$(BOOTSTRAP) screenshots
	@exec $(VENV) -m scripts.screenshots --only "$(ONLY)"

cluster: ## run the shop on a cluster of each server, as root: PORT=21000 (the first of 64), DB=mysql or mariadb, VAR=var
	$(BOOTSTRAP) cluster$(if $(filter mariadb,$(DB)),-mariadb)
	@exec $(VENV) -m scripts.cluster --port "$(PORT)" --db "$(DB)"

cluster-status: ## the members of the running cluster, their roles, lag and routes; exit code 1 when one is missing: JSON=1, DB=mysql or mariadb, VAR=var
	@exec $(VENV) -m scripts.cluster.status --db "$(DB)" $(if $(JSON),--json)

cluster-drill: ## faults of a cluster of its own under load, as root, and a table of outages: DB=mysql or mariadb, QUICK=1, SEED=, MINUTES=, ONLY=kill,switchover
	$(BOOTSTRAP) cluster$(if $(filter mariadb,$(DB)),-mariadb)
	@exec $(VENV) -m scripts.cluster.drill $(if $(DB),--db "$(DB)") --seed "$(SEED)" --minutes "$(MINUTES)" --only "$(ONLY)" $(if $(QUICK),--quick)

check: ## formatting, lint, types, layers, migrations, drift of OpenAPI, reference, clients and dashboards, translations, alerting rules
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.check

format: ## let ruff format and fix what it can
	$(BOOTSTRAP) check
	@$(VENV) -m ruff format . && $(VENV) -m ruff check --fix .

openapi: ## generate docs/openapi.yaml, and docs/reference
	$(BOOTSTRAP) check
	@$(VENV) -m scripts.check --write-openapi
	@exec $(VENV) -m scripts.check --write-reference

reference: ## generate the API, settings and commands in docs/reference
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.check --write-reference

clients: ## generate what clients/ has from docs/openapi.yaml: the package for Python, the types for TypeScript
	$(BOOTSTRAP) test
	@exec $(VENV) -m scripts.clients

schema-changes: ## list in docs/reference the algorithm that MariaDB needs for each statement of each migration
	$(BOOTSTRAP) test
	@exec $(VENV) -m scripts.schema_changes

messages: ## extract the texts that are translated, and compile the catalogs; MERGE=1 unites those on which a merge stopped
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.catalogs $(if $(MERGE),--merge)

docs: ## build the documentation and serve it: PORT=8009, VAR=var
	$(BOOTSTRAP) docs
	@exec $(VENV) -m scripts.docs_site --port "$(PORT)"

dashboards: ## generate Grafana's dashboards in ops/grafana
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.monitoring.dashboards

LOCK := @$(VENV) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
lock: ## pin what pyproject.toml names; UPGRADE=--upgrade takes the newest versions
	$(BOOTSTRAP) check
	$(LOCK) $(UPGRADE) pyproject.toml --extra embedded -o requirements-embedded.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra mysql -c requirements-embedded.txt -o requirements.txt
	$(LOCK) $(UPGRADE) --group dev -c requirements-embedded.txt -o requirements-dev.txt

audit-dependencies: ## known vulnerabilities of every pinned package; exit code 2 where they can't be looked up: SERVICE=osv or pypi, OSV_URL=
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.supply.audit --service "$(SERVICE)" --osv-url "$(OSV_URL)"

sbom: ## the CycloneDX bill of materials of requirements.txt: OUT=var/sbom.cdx.json
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.supply.sbom --out "$(OUT)"

fuzz: ## odd requests to a stack of its own, by the OpenAPI document, by forms of operators and by raw bytes: SECONDS=600, SEED=, DB=mariadb or sqlite
	$(BOOTSTRAP) bench
	@exec $(VENV) -m scripts.fuzz --db "$(DB)" --seconds "$(SECONDS)" --seed "$(SEED)"

mutants: ## plant small defects in the code that decides, one after the other, and run its tests: COUNT=150, SEED=, ONLY=pricing, MAP=1 (measure again which tests run which lines) or MAP=modules (of these tests)
	$(BOOTSTRAP) test
	@exec $(VENV) -m scripts.mutants $(if $(COUNT),--count "$(COUNT)") $(if $(SEED),--seed "$(SEED)") --only "$(ONLY)" $(if $(MAP),--map $(filter-out 1,$(MAP)))
