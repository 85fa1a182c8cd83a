# What each target is for: make help. Nothing but Python 3.11 or newer is needed; everything is installed into .venv.
# ARGS goes to the program that a target runs: make run ARGS="--port 9000", make test ARGS="-k settings".
# PYTHON names the interpreter that .venv is made with.

.POSIX:

ARGS =
BIN = .venv/bin

help:
	@echo 'make run         install what is needed and serve the chat on http://127.0.0.1:8000'
	@echo 'make test        install what is needed, lint, and run all tests'
	@echo 'make sentences   run all tests while every English sentence of the gateway says something else'
	@echo 'make families    count 200 images of every family of models with the real engine'
	@echo 'make lint        formatting, types of Python and JavaScript, import directions'
	@echo 'make bench       measure, and print the tables'
	@echo 'make soak        ask 2,000 questions, and see that no process grows'
	@echo 'make lock        write constraints/ again (ARGS=--upgrade takes the newest versions)'
	@echo 'make demo-model  train the built-in demo model again (about four hours)'
	@echo 'make clean       remove everything that these targets made'

run:
	@sh scripts/install.sh run
	@exec $(BIN)/llava-gateway serve $(ARGS)

test: lint real-ollama
	$(BIN)/pytest $(ARGS)

sentences: real-ollama
	$(BIN)/pytest --other-words $(ARGS)

families: install-dev
	LLAVA_GATEWAY_TEST_SIZES=200 $(BIN)/pytest tests/images/test_families.py -k counts --durations=0 $(ARGS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	sh tests/page/types/check.sh .cache/types

bench:
	@sh scripts/install.sh bench
	$(BIN)/python -m benchmarks $(ARGS)

soak: install-dev
	$(BIN)/python -m benchmarks.soak $(ARGS)

lock: install-dev
	sh scripts/lock.sh $(ARGS)

demo-model:
	sh demo-model/make.sh $(ARGS)

install-dev:
	@sh scripts/install.sh dev

# The tests look for it there. Where it can't be built they say so and leave out what needs it, except on CI.
real-ollama: install-dev
	@sh tests/real_ollama/setup.sh .cache/real-ollama $(BIN)/python || { \
	    [ "$${CI:-}" != true ] && echo 'No real Ollama for the tests: what needs one is left out.'; }

clean:
	rm -rf .venv .cache build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.PHONY: help run test sentences families lint bench soak lock demo-model install-dev real-ollama clean
