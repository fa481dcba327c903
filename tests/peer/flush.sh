#!/bin/sh
# The way of Net-ISP-Balance, in a model of ours: every event removes all routes and all rules, and builds them anew
# from the addresses and the leases that are there. The model has none of Net-ISP-Balance's code and does less: that
# program also writes firewall rules that mark connections, looks at more files, and is in Perl. Only for comparison.
#
# /etc/uplinks: INTERFACE TABLE WEIGHT, a line a link. /run/uplinks/INTERFACE: its gateway, by the last lease.
set -u

address() { # INTERFACE: ADDRESS/LENGTH
    ip -4 -o address show dev "$1" | awk '{ print $4; exit }'
}

gateway() { # INTERFACE
    cat "/run/uplinks/$1"
}

network() { # ADDRESS/LENGTH: NETWORK/LENGTH
    python3 -c 'import ipaddress, sys; print(ipaddress.ip_interface(sys.argv[1]).network)' "$1"
}

in_main() { # LINK TABLE WEIGHT ADDRESS NETWORK GATEWAY
    ip route add "$5" dev "$1" src "$4"
    hops="$hops nexthop via $6 dev $1 weight $3"
}

in_its_table() { # the same
    ip route add default via "$6" dev "$1" table "$2"
    ip route add "$5" dev "$1" src "$4" table "$2"
    ip route add "$lan_network" dev lan0 src "${lan%/*}" table "$2"
    ip rule add from "$4" table "$2"
    ip rule add fwmark "$2" table "$2"
}

# The script asks for everything before it removes anything, so that the gap is no longer than it must be.
lan=$(address lan0)
lan_network=$(network "$lan")
set --
while read -r link table weight; do
    has=$(address "$link")
    [ -z "$has" ] || set -- "$@" "$link $table $weight ${has%/*} $(network "$has") $(gateway "$link")"
done </etc/uplinks

ip route flush all
ip rule flush
ip rule add from all lookup main pref 32766
ip rule add from all lookup default pref 32767
while read -r link table weight; do
    ip route flush table "$table" 2>/dev/null
done </etc/uplinks

ip route add "$lan_network" dev lan0 src "${lan%/*}"
hops=
for up; do
    # shellcheck disable=SC2086
    in_main $up
done
# shellcheck disable=SC2086
[ -z "$hops" ] || ip route add default scope global $hops
for up; do
    # shellcheck disable=SC2086
    in_its_table $up
done
