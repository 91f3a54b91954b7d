# Everything that the README promises, from a fresh checkout. `make` lists it.
SHELL := /bin/sh
RUN := .venv/bin/
# Tests run in one process more than there are cores, in four at most, each with its own servers. A
# module's tests stay together; those that take long come first, so that none runs alone at the end.
SHARED_OUT := --numprocesses logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
# The same random inputs in each run: a change fails by its own fault. Another SEED tries others.
RANDOM := --hypothesis-seed $(or $(SEED),1)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test chaos containers bench profile chart check generate sbom format \
	secrets clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything into .venv (the other targets do it too)
	@sh scripts/setup.sh

demo: setup ## Run the main job on sample photos, from CSV to webhook, and show what was saved
	@$(RUN)halftone demo

up: setup ## Run the service on http://127.0.0.1:8000 until Ctrl-C (PORT=8001)
	@$(RUN)halftone up $(if $(PORT),--port $(PORT))

test: setup ## Run all tests on real PostgreSQL, RabbitMQ and Prometheus (TESTS=tests/unit SEED=2)
	@sh scripts/install_services.sh
	$(RUN)python -m pytest $(SHARED_OUT) $(RANDOM) $(TESTS)

chaos: setup ## Kill and restart everything under load, then count (SECONDS=60 SEED=1)
	@sh scripts/install_services.sh
	$(RUN)python -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

containers: setup ## Build the images and run docker-compose.yml with them on podman (Debian, root)
	@sh scripts/install_containers.sh
	.tools/bin/uv sync --quiet --inexact --group containers
	$(RUN)python -m tests.containers

bench: setup ## Measure what docs/explanation/performance.md says (SECTIONS="end-to-end idle")
	@sh scripts/install_services.sh
	.tools/bin/uv sync --quiet --inexact --group bench
	$(RUN)python -m benchmarks $(SECTIONS)

profile: setup ## Show where the processor time of the end-to-end run goes, by part and by function
	@sh scripts/install_services.sh
	.tools/bin/uv sync --quiet --inexact --group bench
	$(RUN)python -m benchmarks.profile

chart: setup ## Draw docs/pictures/performance.svg from what `make bench` measured last
	$(RUN)python -m benchmarks.chart
	$(RUN)python -m benchmarks.quality_chart

check: setup ## Format, lint, types, import contract: what a commit must pass
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports
	$(RUN)python scripts/markdown_lines.py
	.tools/bin/uv lock --check

generate: setup ## Write the generated files again: the client library's declarations, the reference
	$(RUN)python -m client.generate
	$(RUN)python -m cli.generate
	$(RUN)python -m scripts.settings_reference
	$(RUN)python -m scripts.declared_reference

secrets: ## Make random passwords for docker-compose.yml, once
	@sh scripts/make_secrets.sh

sbom: setup ## Write the images' bills of materials (CycloneDX) into sbom/
	@sh scripts/bills_of_materials.sh

format: setup ## Format the code and fix what the linter can
	$(RUN)ruff check --fix .
	$(RUN)ruff format .
	$(RUN)python scripts/markdown_lines.py --fix

clean: ## Remove what setup and runs made, also the database and images of `make up` in .halftone
	rm -rf .venv .tools .halftone .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
