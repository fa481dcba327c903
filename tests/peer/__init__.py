"""Other programs that keep a router's routing in line with its DHCP leases, each as one of its users would set it up.

`tests/compare` puts each of them on the router of a lab of its own and lets the same things happen to all.
"""
