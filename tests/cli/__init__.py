"""Tests of the command line; most run it as a shell does."""
