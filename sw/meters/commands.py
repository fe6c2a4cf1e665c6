def meter_commands(): pass
def calibrate_command(): pass
