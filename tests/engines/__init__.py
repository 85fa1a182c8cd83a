"""Tests of the engines, against real ones; fake_upstream.py makes the faults that real ones can't be told to make."""
