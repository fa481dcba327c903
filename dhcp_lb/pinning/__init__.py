"""Pins, which keep a connection on its link: nftables records the link of each connection, and restores it."""
