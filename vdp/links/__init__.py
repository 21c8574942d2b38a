"""Tunnel devices: what `ip link add … type gre` is to the kernel, a link is to vdp."""
