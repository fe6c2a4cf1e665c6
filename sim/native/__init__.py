"""Designs compiled to native code, and a harness around them."""
