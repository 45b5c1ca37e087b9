# Needs Python 3.11 or newer, make and git; everything else is set up by the targets themselves.
PYTHON ?= python3
VENV := .venv/bin/python
# State is kept under var/; VAR=/another/folder is for a second instance.
ifdef VAR
export FIRSTCOME_VAR := $(VAR)
endif
BOOTSTRAP := @$(PYTHON) scripts/bootstrap.py
# STATUS=0 is off, as scripts/options.py reads the flags that are handed over.
on = $(filter-out 0 false no off,$(1))

.DEFAULT_GOAL := help
.PHONY: help run manage smoke docs test check format generate lock packages verify lab bench simulate chaos soak cluster cluster-drill test-containers

help: ## this list
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The shop

run: ## start the shop: PORT=8000, DB=sqlite or mariadb, VAR=var
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.run --port "$(PORT)" --db "$(DB)"

manage: ## a management command in that environment: ARGS="audit --json"
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.manage --port "$(PORT)" --db "$(DB)" $(ARGS)

smoke: ## boot the embedded stack, sell something, stop: DB=sqlite or mariadb
	$(BOOTSTRAP) $(if $(filter mariadb,$(DB)),mariadb,run)
	@exec $(VENV) -m scripts.smoke --db "$(DB)"

docs: ## build the documentation and serve it: PORT=8009, VAR=var
	$(BOOTSTRAP) docs
	@exec $(VENV) -m scripts.docs_site --port "$(PORT)"

##@ Its code

# Where debootstrap can't be installed, the command itself says so, and in CI names the servers that it doesn't meet.
test: ## the first group of tests on throwaway servers, then the embedded smoke; ARGS="coupons -k race" goes to pytest instead; CIRCLE=other or long, PART=3/12, with SINCE=HEAD~20 also what changes since then touch; SEED=4 is an order of the tests; DB=mariadb, mysql, mariadb-next or others (races, crashes, migrations … on the last two, as root); DEBIAN=13 with that Debian's Python and servers, as root, where DJANGO=6.1 is that release; SERVE=1 only keeps the servers up, to run pytest by hand
	$(BOOTSTRAP) $(if $(CIRCLE)$(ARGS)$(SERVE)$(DEBIAN)$(filter-out mariadb,$(DB)),tests,test)
	$(if $(DEBIAN)$(filter-out mariadb,$(DB)),$(if $(CI)$(filter others,$(DB)),-)$(BOOTSTRAP) tests debootstrap)
	@exec $(VENV) -m $(if $(SERVE),scripts.stack.throwaway --db "$(DB)",scripts.suite --db "$(DB)" --circle "$(CIRCLE)" --part "$(PART)" --since "$(SINCE)" --seed "$(SEED)" --debian "$(DEBIAN)" --django "$(DJANGO)" $(ARGS))

check: ## formatting, lint, types, layers, migrations, drift of what is generated, generation of the Python client, translations, alerting rules
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.check

format: ## let ruff format and fix what it can
	$(BOOTSTRAP) check
	@$(VENV) -m ruff format . && $(VENV) -m ruff check --fix .

generate: ## from the code: docs/openapi.yaml, docs/reference, .env.example, and the catalogs of translated texts; ONLY=one of openapi, reference, messages, or clients (what clients/ needs and git ignores, and its packages, in var/clients/)
	$(BOOTSTRAP) $(if $(filter clients,$(ONLY)),tests,check)
	@exec $(VENV) -m scripts.check --write "$(ONLY)"

LOCK := @$(VENV) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
lock: ## pin what pyproject.toml names; UPGRADE=--upgrade takes the newest versions
	$(BOOTSTRAP) check
	$(LOCK) $(UPGRADE) pyproject.toml --extra embedded --extra simulators -o requirements-embedded.txt
	$(LOCK) $(UPGRADE) pyproject.toml --extra mysql --extra traces --extra simulators -c requirements-embedded.txt -o requirements.txt
	$(LOCK) $(UPGRADE) --group dev -c requirements-embedded.txt -o requirements-dev.txt
	$(LOCK) $(UPGRADE) --group test -c requirements-embedded.txt -c requirements-dev.txt -o requirements-test.txt
	$(LOCK) $(UPGRADE) --group lab -c requirements-embedded.txt -c requirements-dev.txt -o lab/requirements.txt
	$(LOCK) $(UPGRADE) --group django-6-1 -o requirements-django-6.1.txt

packages: ## the CycloneDX bill of materials of requirements.txt, then known vulnerabilities of every pinned package, and servers past their end (ops/servers.toml); exit code 2 where they can't be looked up: OUT=var/sbom.cdx.json, PIP_AUDIT_OSV_URL=
	$(BOOTSTRAP) check
	@exec $(VENV) -m scripts.packages --out "$(OUT)"

verify: ## what takes too long for each change, some hours, and a table in the end, in which NOT RUN is what this machine can't: ONLY=containers,fuzz SEED=...
	$(BOOTSTRAP) tests
	@exec $(VENV) -m lab.verify --only "$(ONLY)" --seed "$(SEED)"

##@ Its limits (lab/README.md)

lab: ## compare all strategies by k6, one report: STRATEGIES=a,b SCENARIO=race,crowd QUICK=1 OUT=folder; ARGS="fuzz --seconds 60" is another command of python -m lab
	@exec $(PYTHON) -m lab $(or $(ARGS),compare --strategies "$(STRATEGIES)" --scenario "$(SCENARIO)" --quick "$(QUICK)" --out "$(OUT)")

bench: ## coupons and orders a second on a fresh MariaDB: QUICK=1, AGAINST=commit (beside that one), BUDGET=1 (few rows by processor time beside the last release), ROWS=coupon,board (these alone), ROUNDS=5, DEBIAN=13 (with the Python of the image, as root)
	@exec $(PYTHON) -m lab bench --budget "$(BUDGET)" --quick "$(QUICK)" --against="$(AGAINST)" --rows "$(ROWS)" --rounds "$(ROUNDS)" --debian "$(DEBIAN)"

simulate: ## seeded runs of all processes in one thread, with crashes at any statement: SECONDS=180, SEED=4 or 4.17, PLANTED=early-reply; EXAMPLES=200 of the state machine of orders afterwards
	@$(if $(EXAMPLES),,exec) $(PYTHON) -m lab simulate --seconds "$(SECONDS)" --seed "$(SEED)" --planted "$(PLANTED)"
	$(if $(EXAMPLES),@INTERLEAVINGS="$(EXAMPLES)" exec $(MAKE) test ARGS="orders/tests/test_state_machine.py -q --hypothesis-seed=$(or $(SEED),0)")

chaos: ## crashes under load on a stack of its own: DB=sqlite or mariadb, BROKER=redis or rabbitmq, SECONDS=60, SEED=...; or CAMPAIGN=one of those in docs/reliability.md or all, then also QUICK=1 (fewer, shorter faults), PLANTED=1 (with its planted defect)
	$(BOOTSTRAP) $(if $(CAMPAIGN),campaign,$(if $(filter mariadb,$(DB)),mariadb,run))
	@exec $(VENV) -m lab.chaos --campaign "$(or $(CAMPAIGN),chaos)" --quick "$(QUICK)" --planted "$(PLANTED)" --part "$(PART)" --since "$(SINCE)" --db "$(DB)" --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)"

soak: ## ten minutes of buying, refunding and faults on a stack of its own: SECONDS=600, SEED=..., BROKER=redis or rabbitmq
	@exec $(PYTHON) -m lab soak --broker "$(BROKER)" --seconds "$(SECONDS)" --seed "$(SEED)"

cluster: ## run the shop on a cluster of each server, as root: PORT=21000 (the first of 64), VAR=var; STATUS=1 shows the running one's members, roles, lag and routes, exit code 1 when one is missing (JSON=1)
	@exec $(PYTHON) -m lab $(if $(call on,$(STATUS)),status $(if $(call on,$(JSON)),--json),cluster --port "$(PORT)")

cluster-drill: ## faults of a cluster of its own under load, as root, and a table of outages: QUICK=1, SEED=, MINUTES=, ONLY=kill,switchover
	@exec $(PYTHON) -m lab drill --seed "$(SEED)" --minutes "$(MINUTES)" --only "$(ONLY)" --quick "$(QUICK)"

test-containers: ## the images and the compose file on a Docker engine of its own, as root: kills, an update, stops, a restore; NOT RUN where it can't; KEEP=1 leaves it up
	@exec $(PYTHON) -m lab containers --keep "$(KEEP)"
