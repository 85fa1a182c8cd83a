"""Tests of the way of one question through the gateway, and of each step of it."""
