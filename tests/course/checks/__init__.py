"""Tests of the checks: the engine, the exercises and their wrong answers, and what a notebook calls."""
