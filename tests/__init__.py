"""The tests mirror src/llava_gateway, one file for each module; contract/ runs the same tests with every engine.

The clock that tests can move is installed before any import of the gateway.
"""

from tests.clock import install

install()
