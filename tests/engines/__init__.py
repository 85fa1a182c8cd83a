"""Tests of the engines against real servers. fake_upstream.py makes the faults that a real server can't be made to produce."""
