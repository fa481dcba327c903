"""The program's version; a build writes it from debian/changelog (setup.py)."""

VERSION = "unreleased"
