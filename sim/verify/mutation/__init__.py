"""Mutation coverage: small faults put into gateware and host, and whether the tests notice.

``docs/mutation.md`` says how, and what came out.
"""
