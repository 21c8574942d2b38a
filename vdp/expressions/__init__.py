"""What operators write on the command line about packets: their layers, and their fields.

grammar.py   "eth/ip/gre(key=7)/ip/tcp" to layers, mistakes with their place
layers.py    the names of layers and fields, and the packets that they make
"""
