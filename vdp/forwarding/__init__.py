"""Where a packet goes next: rules first, then the bridge, connect or routes of its in-port."""
