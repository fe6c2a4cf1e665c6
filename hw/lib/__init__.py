"""Small blocks without knowledge of the project: arithmetic, state machines, framing, UART."""
