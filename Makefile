# Everything sets itself up: the first call makes .venv with the package, its video extra and the tools.
PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/demo
# Weights that the same experiment file made in a longer run (experiments/README.md), shown beside the demo's own.
STARTER ?= experiments/bouncing_balls.safetensors
# Training steps of the demo; the experiment's own number where not given. CI uses a few.
DEMO_STEPS ?=
# What the demo looks at on its way, for its report.
DEMO_LOOKS = --config.train.sample_every=200 --config.train.sample_count=16 --config.train.validate_every=100
# The demo fails where the starter weights miss the bar of their protocol.
DEMO_CHECK ?= --require
BIN = $(VENV)/bin
# Two processes; the tests of a file are run by one of them, so that what they share is made and compiled once.
PARALLEL = -n 2 --dist loadfile
# What the tests passed with (docs/launch.md): every environment but the next is made BY it, so that no new release of a dependency breaks a fresh machine.
CONSTRAINTS = .ci/constraints.txt
# The environment that pip fills with the newest releases instead, for `make test-newest` alone; made anew each time.
NEWEST = .venv-newest
# The environment that has PyTorch, diffusers and what the official code imports, for `make parity` alone.
PARITY ?= .venv-parity
# What DiT, SiT and Latte take their patches and MLPs from. Its torchvision is not asked for (tests/parity/official.py does
# without): builds of it and of torch that do not belong together break diffusers.
TIMM = 1.0.31
# What LPIPS is compared with; its torchvision is not asked for either (tests/parity/lpips_torch.py).
LPIPS = 0.1.4

.PHONY: demo plans parity test test-all test-newest weights constraints lint format clean

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vdm_jax needs Python 3.11 or newer: make PYTHON=python3.12")'
SETUP = $(CHECK_PYTHON) && $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install -qq $(BY) --upgrade pip \
	&& $(@D)/bin/python -m pip install -qq $(BY) $(BUILD_BY) --editable
BY = --constraint $(CONSTRAINTS)
BUILD_BY = --build-constraint $(CONSTRAINTS)

$(VENV)/ready: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(SETUP) '.[video,dev]'
	touch $@

.PHONY: $(NEWEST)/ready
$(NEWEST)/ready: BY =
$(NEWEST)/ready: BUILD_BY =
$(NEWEST)/ready:
	rm -rf $(NEWEST)
	$(SETUP) '.[video,dev]'

$(PARITY)/ready: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(SETUP) '.[parity]'
	$(@D)/bin/python -m pip install -qq --no-deps timm==$(TIMM) lpips==$(LPIPS)
	touch $@

demo: $(VENV)/ready
	$(BIN)/python -m vdm_jax train --config=experiments/bouncing_balls.py --workdir=$(RUN) $(DEMO_LOOKS) $(if $(DEMO_STEPS),--config.train.steps=$(DEMO_STEPS))
	$(BIN)/python -m vdm_jax sample --workdir=$(RUN) --weights=$(STARTER) --num=16
	$(BIN)/python -m vdm_jax evaluate --workdir=$(RUN)
	$(BIN)/python -m vdm_jax evaluate --weights=$(STARTER) --out=$(RUN)/evals $(DEMO_CHECK)
	$(BIN)/python -m vdm_jax report --workdir=$(RUN)

# The table of docs/plans.md; needs the TPU's compiler, which comes with the extra: pip install '.[tpu]'
plans: $(VENV)/ready
	$(BIN)/python -m pip install -qq $(BY) --editable '.[tpu]'
	$(BIN)/python -m vdm_jax plans --out=docs/plans.md

# The table of docs/baselines.md, from comparisons with the official code, whose checkouts DIT_CHECKOUT, SIT_CHECKOUT and
# LATTE_CHECKOUT name; those of a checkout that is not named are skipped, and are not in the table.
parity: $(PARITY)/ready
	rm -rf $(PARITY)/measured
	VDM_JAX_FETCH=1 VDM_JAX_PARITY_OUT=$(PARITY)/measured $(PARITY)/bin/python -m pytest -m parity tests/parity tests/pretrained
	$(PARITY)/bin/python -m tests.parity.table $(PARITY)/measured --out=docs/baselines.md

test: $(VENV)/ready
	$(BIN)/python -m pytest $(PARALLEL)

test-newest: $(NEWEST)/ready
	$(NEWEST)/bin/python -m pytest $(PARALLEL)

test-all: $(VENV)/ready
	XLA_FLAGS=--xla_force_host_platform_device_count=8 $(BIN)/python -m pytest $(PARALLEL) -m 'not gpu'

# Brings published weights (docs/weights.md), 190 MB once, and runs the tests that look at them.
weights: $(VENV)/ready
	$(BIN)/python -m vdm_jax weights fetch i3d lpips minilm
	$(BIN)/python -m pytest -m 'weights and not gpu and not parity'

# For each Python of setup.cfg that is here; then run the tests on them.
constraints: $(VENV)/ready
	$(BIN)/python .ci/constraints.py

lint: $(VENV)/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(NEWEST) $(PARITY) .pytest_cache runs build *.egg-info
