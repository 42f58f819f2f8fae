"""Benchmarks of the pipeline: ``python -m benchmarks [section ...]``; results with machine and versions as JSON.

A figure counts only if the output of its run equals an oracle's, so every section compares and stops when it differs.
"""
