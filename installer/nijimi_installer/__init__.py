"""The installer: a bare machine enters, a painting program with a live backend leaves.

Standard library only: it runs before anything is installed.
"""
