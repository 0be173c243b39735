"""Benchmarks that users can point at their own simulators, inversions and algorithms."""
