"""The transmit pipeline: what happens to a packet between the decision and the port."""
