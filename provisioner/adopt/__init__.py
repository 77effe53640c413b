"""Specs made from what is there: from an object file (`skeleton`), and from live maps (`export`)."""
