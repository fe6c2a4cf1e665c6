"""Boards that Trilight builds for, and the figures of their released builds."""
