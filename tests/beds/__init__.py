"""The test beds: the surroundings that a test runs in. Take the smallest one that shows the point.

- No bed, a plain call: pure code, values in and values out. `examples.py` has two links, their leases and the routing
  that they should have.
- `world.py` on `model_kernel.py`: the real path of an event, with a store in a directory and a model of the kernel. It
  needs no root. For sequences of events, random histories and refusals.
- `netns.py`: an empty network namespace in the test's own process. For what the kernel itself does. `provider.py` is
  the other end of a link there: a gateway and the Internet in one process.
- `box.py`: a machine for one test, with network, mounts and processes of its own and the program installed. For many
  runs of the program: kills, full disks, races. `ipv6.py` adds two providers of IPv6 and a LAN.
- `lab/`: a router, providers with real DHCP servers and clients, a LAN. For what a user sees: connections, shares,
  cables. `two_links.py` has the routing that a lab with two links should have. `held.py` keeps connections open.
"""
