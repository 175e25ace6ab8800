PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# One thread a process: two processes of two threads each on two cores are many times slower than two of one.
export OMP_NUM_THREADS ?= 1

.PHONY: repro test cases hardship mutants published notebooks docs ui bench slurm clean

repro: .venv/installed
	dvc repro

test: .venv/installed
	ruff check .
	ruff format --check .
	pytest -n 2 --dist loadgroup

# What these three show, and how long they take: docs/testing.md. OF="mod trn04" names cases by the beginnings of their ids.
cases: .venv/installed
	python -m tests.cases $(OF)

hardship: .venv/installed
	timeout 600 pytest -n 2 --dist loadgroup -m hardship --durations 5 tests/hardship

# OF="FILE_OR_FOLDER ..", by default the four rooms where a wrong number would be seen last.
mutants: .venv/installed
	.venv/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable '.[mutants]'
	python -m tests.mutants $(or $(OF),pipeline/learning pipeline/datasets pipeline/probes pipeline/runs)

# The numbers of docs/published.md, from results/studies.
published: .venv/installed
	python -m pipeline.report
	cp results/report/published.md docs/published.md

# Executes docs/notebooks, so that they show what comes out today.
notebooks: .venv/installed
	python -m tests.notebooks

# A site of docs/ and of the API, made and read without a network.
docs: .venv/installed
	.venv/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "open file://$(CURDIR)/site/index.html in a browser"

# On this machine alone (loopback). MLflow's first page shows no runs: the links lead to each study's.
PORT ?= 5000
ui: .venv/installed
	@python -m pipeline.runs.links mlflow.db http://127.0.0.1:$(PORT)
	@echo "Open one of them; Ctrl-C ends"
	@mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1

bench: .venv/installed
	.venv/bin/uv pip install --quiet --python .venv/bin/python --constraint constraints.txt --editable '.[bench]'
	python -m benchmarks

# Debian's SLURM and PostgreSQL, for the tests of docs/slurm.md; needs root. Nothing is left running. Without them those tests are skipped.
slurm:
	command -v slurmctld munged || { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; }
	ls /usr/lib/postgresql/*/bin/initdb || { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql && service postgresql stop; }

clean:
	rm -rf .venv site results runs mlflow.db mlartifacts data/prepared pipeline/recurrence/*.so pipeline/models/*.so

.venv/installed: pyproject.toml constraints.txt $(wildcard pipeline/*/*.cpp)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	rm -f pipeline/recurrence/*.so pipeline/models/*.so
	.venv/bin/uv pip install --python .venv/bin/python --compile-bytecode --constraint constraints.txt --editable '.[test]'
	touch $@
