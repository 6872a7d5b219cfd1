"""Real hardware: serial ports, hotplug, power, slot mapping."""
