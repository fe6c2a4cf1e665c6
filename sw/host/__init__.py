"""The host's end of the link, from the driver to the port, and the emulated device."""
