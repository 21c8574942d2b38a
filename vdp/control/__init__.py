"""The control socket: JSON lines over a UNIX socket, a server in the daemon, a light client.

Importing this package or `vdp.control.client` costs socket and json only.
"""
