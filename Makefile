# The daily commands, in the environment that is active: `make check` before a commit, `make ci` before a merge.
.PHONY: install check test test-all docs bench sanitize ci

install:  ## an editable install with everything that the tests need; again after an edit in csrc/
	pip install -c constraints.txt -e '.[test,docs]'

check:  ## style, types, and whether rooms import only what they may
	ruff check .
	ruff format --check .
	mypy
	python -m pytest -q -p no:benchmark tests/test_architecture.py

test: check  ## without the tests that take long
	python -m pytest -q -n auto --dist loadfile -p no:benchmark -m "not slow"

test-all: check  ## every test
	python -m pytest -q -n auto --dist loadfile -p no:benchmark

docs:  ## the site, into site/
	mkdocs build

bench:  ## the lattice's workloads beside plain PyTorch
	python benchmarks/automata.py

sanitize:  ## the kernel's tests under AddressSanitizer and UBSan (Linux, GCC), in an environment of their own
	python -m venv build/sanitize
	build/sanitize/bin/pip install -q -c constraints.txt -C cmake.define.CUBEFAST_SANITIZE=ON \
		-C build-dir=build/sanitize-objects '.[test]'
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		build/sanitize/bin/python -m pytest -q -p no:benchmark tests/lattice/test_parity.py -k cpp

ci:  ## what must pass before anything lands, in a fresh environment
	.ci/run
