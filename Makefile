# What each target is for: make help. Nothing but Python 3.11 or newer is needed; everything is installed into .venv.
# ARGS goes to the program that a target runs: make run ARGS="--port 9000", make test ARGS="-k settings".
# PYTHON names the interpreter that .venv is made with.

.POSIX:

ARGS =
BIN = .venv/bin

help:
	@echo 'make run         install what is needed and serve the chat on http://127.0.0.1:8000'
	@echo 'make check       install what is needed, lint, and run the tests that need no browser, no engine and little time'
	@echo 'make test        install what is needed, lint, run all tests, and see that they reach the code'
	@echo 'make sentences   run all tests while every English sentence of the gateway says something else'
	@echo 'make families    count 200 images of every family of models with the real engine'
	@echo 'make lint        formatting, types of Python and JavaScript, import directions'
	@echo 'make dialects    run the test suites of other clients against the gateway (needs npm and Go)'
	@echo 'make bench       measure, and print the tables'
	@echo 'make soak        ask 2,000 questions, send 10,000 requests and read 500 streams, and see that nothing grows'
	@echo 'make crash       kill the gateway 200 times, let its disk fail, and look for lost turns'
	@echo 'make disconnects let 10,000 clients leave, and see that nothing is left behind'
	@echo 'make appearance  compare 600 images with what Chromium draws of them'
	@echo 'make fuzz        send a million broken images and 20,000 odd requests, and see that nothing breaks'
	@echo 'make page        bundle the scripts and style sheets of the chat page (needs npm)'
	@echo 'make lock        write constraints/ again (ARGS=--upgrade takes the newest versions)'
	@echo 'make demo-model  train the built-in demo model again (about four hours)'
	@echo 'make clean       remove everything that these targets made'

run:
	@sh scripts/install.sh run
	@exec $(BIN)/llava-gateway serve $(ARGS)

check: lint
	$(BIN)/pytest -m 'not real' $(ARGS)

# Without ARGS, when all tests have run, too little coverage is a failure.
test: lint real-ollama
	@rm -rf .cache/coverage
	$(BIN)/coverage run -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)
	@$(BIN)/coverage combine --quiet
	@[ -n "$$ARGS" ] || $(BIN)/coverage report

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

dialects:
	@sh scripts/install.sh dialects
	$(BIN)/python -m tests.dialects $(ARGS)

bench:
	@sh scripts/install.sh bench
	$(BIN)/python -m benchmarks $(ARGS)

soak: install-dev
	$(BIN)/python -m benchmarks.soak $(ARGS)

crash: install-dev
	$(BIN)/python -m benchmarks.crash $(ARGS)

disconnects: install-dev
	$(BIN)/python -m benchmarks.disconnects $(ARGS)

appearance: install-dev
	$(BIN)/python -m tests.appearance $(ARGS)

fuzz: install-dev
	$(BIN)/python -m tests.fuzz $(ARGS)

page:
	sh scripts/page.sh .cache/page

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

.PHONY: help run check test sentences families lint dialects bench soak crash disconnects appearance fuzz page lock demo-model install-dev real-ollama clean
