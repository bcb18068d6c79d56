# Layerlab's commands for people who work on it. Each target does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT_PACKAGES := tshark tcpdump iputils-ping iputils-arping traceroute bind9-dnsutils netcat-openbsd iproute2 \
                procps util-linux curl nmap openssh-server openssh-client openssl iperf3 $(DRIVER_PACKAGES) $(UML_PACKAGES)
# A Docker engine of the tests' own, and what its base image is made with; Mininet's mnexec; Open vSwitch.
DRIVER_PACKAGES := docker.io iptables docker-compose debootstrap mininet bridge-utils openvswitch-switch
# A real kernel with netem, as a program. Debian has it for these machines only; elsewhere its tests say so.
UML_PACKAGES := $(if $(filter amd64 i386,$(shell dpkg --print-architecture 2>/dev/null)),user-mode-linux)
# CPython's own tests, some of which our event loop runs (tests/cpython): Debian has them in a package of their own.
PYTHON_TESTS = $(shell $(PYTHON) -c 'import test.test_asyncio' 2>/dev/null || \
                 $(PYTHON) -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])')
BENCH_PACKAGES := iperf3 iproute2 iputils-ping $(DRIVER_PACKAGES) $(UML_PACKAGES)
ORACLE_PACKAGES := qemu-system-x86 util-linux

.PHONY: setup system-packages bench-packages test check lint types unit system demo bench oracle-seeded clean

setup: $(VENV)/.installed

# Debian keeps the venv module in a package of its own.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && tests/install-packages python3-venv; } || \
	  { echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Tools that system tests meet our stack with. Only as root, and only where apt is; elsewhere tests say what they lack.
system-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then tests/install-packages $(APT_PACKAGES) $(PYTHON_TESTS); fi

bench-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then tests/install-packages $(BENCH_PACKAGES); fi

FAST_TESTS := tests/architecture tests/unit tests/vectors tests/property tests/script tests/sim tests/cpython

# Everything that continuous integration runs.
test: setup system-packages lint types
	$(BIN)/pytest -m "not benchmark" $(FAST_TESTS) -n 2 -q
	$(BIN)/pytest -m "not benchmark and not alone" tests/system tests/drivers -n 2 --dist loadfile -q
	$(BIN)/pytest -m "not benchmark and alone" tests/system -q

# The fast part: no namespaces, no root.
check: setup lint types
	$(BIN)/pytest -m "not system and not benchmark" $(FAST_TESTS) tests/drivers -n 2 -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

types: setup
	$(BIN)/mypy

demo: setup
	$(BIN)/lab demo

bench: setup bench-packages
	$(BIN)/python -m tests.benchmarks

# The link engine beside a Linux 6.12, whose netem has a seed: frame by frame. Fetches that kernel (35 MB, once).
oracle-seeded: setup
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then tests/install-packages $(ORACLE_PACKAGES); fi
	$(BIN)/python -m tests.oracle_seeded

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
