"""The measured claims (`make bench`): pgtandem against the same thing done without it, in pairs, in one run.

Needs nothing but the development environment: the embedded PostgreSQL 18 serves both sides.
"""
