"""Tests of the walk of one question and of each of its steps."""
