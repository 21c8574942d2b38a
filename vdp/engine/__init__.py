"""The fast path: a generic C engine (engine.h) and what Python says to it."""
