"""What keeps a connection on its link: nftables records the link that each connection took, and restores it."""
