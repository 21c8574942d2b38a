"""Real packets made visible: what the engine's taps show, on its way to who looks on.

    tap (engine) ── feed ── control socket ── source ── pcapng, or a line a packet

`feed` runs in the daemon and passes chunks on as they are; the rest runs where the command
does, and takes them apart there.
"""
