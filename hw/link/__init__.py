"""The device's end of the serial link."""
