"""Tests of the files for other tools, with those tools."""
