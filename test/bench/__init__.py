"""Benchmarks. Each runs against a real control plane and has a small form that the tests run."""
