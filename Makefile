test-services: ## keep throwaway MariaDB, Redis and simulators up; then `source var/test/env` and run pytest by hand
	@exec .venv/bin/python -m scripts.throwaway
