"""The files that a user names: one way to open what is read (`reading`), one to write (`writing`).

What is read is a regular file of limited size, inside the project where a spec names it. What is written appears whole,
under its name, for its owner only.
"""
