"""vdp: an Open vSwitch-style dataplane whose protocols are Python plugins, traced once, run in C."""

__version__ = "0.1.0"
