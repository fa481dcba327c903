"""dhcp-lb: balances connections over several Internet links whose addresses come from DHCP."""
